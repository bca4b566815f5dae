"""This machine's part in a run on several: it follows whoever leads until the run is over, or it leads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nimble_lightning.runtime import devices, forkserver
from nimble_lightning.runtime.company import Company
from nimble_lightning.runtime.job import Job
from nimble_lightning.runtime.nodes import addresses
from nimble_lightning.runtime.nodes.following import Following
from nimble_lightning.runtime.nodes.leading import Leading
from nimble_lightning.runtime.nodes.patience import Question
from nimble_lightning.runtime.nodes.settings import Settings
from nimble_lightning.runtime.nodes.together import Gathering, Together
from nimble_lightning.runtime.result import Result
from nimble_lightning.runtime.stopping import Stop

LOOK_SECONDS = 0.1
# Which network interface workers use on the CPU; by itself gloo takes what the host's name stands for, which
# on many machines is one that no other machine can reach.
_GLOO = "GLOO_SOCKET_IFNAME"


class Node:
    """One of the machines of a run.

    Args:
        job: As it was asked for on this machine.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._gathering = Gathering(job, Settings.of(job.resolved()))
        self._workers = devices.count(job.config.get("lightning") or {})

    def run(self, lead: Callable[[Job, Company], Result]) -> Result:
        """Take part until the run is over or this machine is to leave.

        Args:
            lead: Supervises the run with the other machines, should it come to that.
        """
        stop = Stop(None)
        with stop.listening(), self._reachable():
            forkserver.start(str(self._job.config.trainer))
            while (together := self._come(stop)) is not None:
                if together.leads:
                    self._gathering.leads = True
                    return lead(self._job, Leading(self._gathering, self._come, together, self._workers))
                ended = Following(self._job, together, stop, self._workers).attempt()
                if ended is not None:
                    return ended
        return Result("stopped", {}, self._job.folder.path, message=stop.reason, exit_code=stop.exit_code)

    def _come(self, stop: Stop) -> Together | None:
        """Meet the others; None if this machine is to stop instead."""
        coming = Question(self._gathering.come)
        while not stop.wanted():
            try:
                return coming.answer(LOOK_SECONDS)  # type: ignore[no-any-return]
            except TimeoutError:
                continue
        return None

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        """Have the workers use the network in which this machine meets the others."""
        name = addresses.interface(self._gathering.own)
        if name is None or _GLOO in os.environ:
            yield
            return
        os.environ[_GLOO] = name
        try:
            yield
        finally:
            del os.environ[_GLOO]
