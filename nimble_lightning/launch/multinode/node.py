"""This machine's part in a run on several: it follows whoever leads until the run is over, or it leads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from nimble_lightning.errors import NimbleError
from nimble_lightning.launch.multinode import network
from nimble_lightning.launch.multinode.assembly import Assembled, Assembly
from nimble_lightning.launch.multinode.follower import Follower
from nimble_lightning.launch.multinode.leader import Leader
from nimble_lightning.launch.multinode.messages import TimedQuestion
from nimble_lightning.launch.multinode.rendezvous_parameters import RendezvousParameters
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.runs import device_count, signature
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.lifecycle import LateVerdict
from nimble_lightning.runs.request import rerun
from nimble_lightning.runs.result import Result
from nimble_lightning.settings import Multinode
from nimble_lightning.supervision.monitor import AttemptMonitor
from nimble_lightning.supervision.stop_request import Stop
from nimble_lightning.supervision.supervisor import supervise
from nimble_lightning.worker.server import forkserver

LOOK_SECONDS = 0.1
# Which network interface workers use on the CPU; by itself gloo takes what the host's name stands for, which
# on many machines is one that no other machine can reach.
_GLOO = "GLOO_SOCKET_IFNAME"
# The store of an attempt is ours, made anew each time: torch's own is remembered from the first meeting, and
# machines that come later wait in vain to be told of it.
_NO_OTHER_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
# Machines that have met are known to have as many workers each; by itself torch has all of them say so again,
# and waits five minutes for one that was lost since.
_ALL_ALIKE = "TORCH_ELASTIC_WORKER_IDENTICAL"


class Node:
    """One of the machines of a run.

    Args:
        job: As it was asked for on this machine.
        launch: Where and how its machines come together.
        late_verdict: Given once the workers have gone, where there is one.
    """

    def __init__(self, job: Job, launch: Multinode, late_verdict: LateVerdict | None) -> None:
        self._job = job
        self._late_verdict = late_verdict
        self._gathering = Assembly(job, RendezvousParameters.of(launch, job.settings.processes.num_nodes))
        self._workers = device_count.count(job.settings.processes)

    def run(self) -> Result:
        """Take part until the run is over or this machine is to leave."""
        stop = Stop(None)
        monitor = AttemptMonitor(self._job.folder, self._job.settings.callbacks.auto_retry, stop)
        with signature.ready(self._job), stop.listening(), self._reachable(), closing(self._gathering):
            forkserver.start(self._job.trainer)
            while (done := rerun.done_before(self._job)) is None:
                together = self._come(stop)
                if together is None:
                    return Result.ahead(self._job.folder.path, stop.reason, stop.exit_code)
                if together.leads:
                    return self._lead(together)
                ended = Follower(self._job, together, monitor, self._workers).attempt()
                if ended is not None:
                    return ended
        return done

    def _lead(self, together: Assembled) -> Result:
        """Have the others know how it ended, whichever way."""
        self._gathering.leads = True
        others = Leader(self._job.folder, self._gathering, self._come, together, self._workers)
        try:
            ended = supervise(self._job, others, self._late_verdict)
        except NimbleError as error:
            code = ExitCode.of(error)
            others.part(Result.ahead(self._job.folder.path, str(error), code))
            raise
        others.part(ended)
        return ended

    def _come(self, stop: Stop) -> Assembled | None:
        """Meet the others; None if this machine is to stop instead."""
        coming = TimedQuestion(self._gathering.come)
        while not stop.wanted():
            try:
                return coming.answer(LOOK_SECONDS)  # type: ignore[no-any-return]
            except TimeoutError:
                continue
        return None

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        """Have the workers use the network in which this machine meets the others."""
        name = network.interface(self._gathering.own)
        wanted = {_NO_OTHER_STORE: "1", _ALL_ALIKE: "1"} | ({_GLOO: name} if name else {})
        added = {key: value for key, value in wanted.items() if key not in os.environ}
        os.environ.update(added)
        try:
            yield
        finally:
            for key in added:
                os.environ.pop(key, None)
