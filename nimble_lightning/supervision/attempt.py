"""One start of a job's workers, by torchelastic, watched from outside."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nimble_lightning.runs.heartbeat import Beat, read
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.outcome import Evidence, Hang, errors_of
from nimble_lightning.runs.process_tree import alive
from nimble_lightning.worker.server import forkserver

if TYPE_CHECKING:
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent

    from nimble_lightning.supervision.worker_store import WorkerStore

# How long ranks that are left may take to end once one is gone: they wait in a collective that will not come.
GRACE_SECONDS = 3
POLL_SECONDS = 0.03


_GROUPS = Path("/sys/fs/cgroup")


class Attempt:
    """The workers of one attempt on this machine.

    torchelastic runs in a thread, where it installs no signal handlers: what a signal means is decided in the
    main thread.

    Args:
        job: What to run.
        number: Which start of the run this is, from 1.
        workers: Processes on each machine.
        resume_from: The checkpoint to continue from.
        meeting: The machines that take part.
    """

    def __init__(
        self, job: Job, number: int, workers: int, resume_from: str | None, meeting: WorkerStore
    ) -> None:
        self.number = number
        self.ranks = range(meeting.rank * workers, (meeting.rank + 1) * workers)
        self.hang: Hang | None = None
        self.gone: dict[int, float] = {}
        self._beats: dict[int, Beat] = {}
        self._exit_codes: dict[int, int] = {}
        self._trouble: str | None = None
        self._job = job
        self._meeting = meeting
        self._resume_from = resume_from
        self._kills = oom_kills()
        self._thread = threading.Thread(target=self._run, name=f"attempt-{number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within that time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def beats(self) -> dict[int, Beat]:
        """Each started rank's last sign of life, which is known though its file is not there any more."""
        files = {rank: self._job.folder.heartbeat(self.number, rank) for rank in self.ranks}
        self._beats |= {rank: beat for rank, file in files.items() if (beat := read(file)) is not None}
        return dict(self._beats)

    def look(self) -> dict[int, Beat]:
        """The beats of the ranks that are alive; remembers when one was first missed."""
        living = {}
        for rank, beat in self.beats().items():
            if rank not in self.gone and alive(beat.pid):
                living[rank] = beat
            else:
                self.gone.setdefault(rank, time.time())
        return living

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every worker that is left."""
        for beat in self.look().values():
            try:
                os.kill(beat.pid, number)
            except ProcessLookupError:
                continue

    def evidence(self) -> Evidence:
        """What is known once it has ended; the files it was read from are removed."""
        folder = self._job.folder
        self.look()
        evidence = Evidence(
            finished=folder.finished.exists(),
            errors=[error for error in errors_of(folder, self.number) if error["rank"] in self.ranks],
            exit_codes=self._exit_codes,
            beats=self.beats(),
            gone=self.gone,
            hang=self.hang,
            out_of_memory=oom_kills() > self._kills,
            trouble=self._trouble,
            server_lost=not forkserver.runs(),
        )
        folder.prepared(self.number, self.ranks.start).unlink(missing_ok=True)
        for rank in self.ranks:
            folder.heartbeat(self.number, rank).unlink(missing_ok=True)
            stacks = folder.stacks(self.number, rank)
            if stacks.exists() and not stacks.stat().st_size:
                stacks.unlink()
        return evidence

    def _run(self) -> None:
        for name in ("torch.distributed", "torch.multiprocessing"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            with forkserver.without_main():
                ended = self._agent().run()
            self._exit_codes = {rank: failure.exitcode for rank, failure in ended.failures.items()}
        except Exception as error:  # the workers never started: said by the supervisor, in the main thread
            self._trouble = f"{type(error).__name__}: {error}"

    def _agent(self) -> LocalElasticAgent:
        from torch.distributed.elastic.agent.server.api import WorkerSpec
        from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
        from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs

        from nimble_lightning.supervision.worker_store import StaticRendezvous
        from nimble_lightning.worker import worker

        folder, environment = str(self._job.folder.path), forkserver.changes()
        spec = WorkerSpec(
            role="worker",
            local_world_size=len(self.ranks),
            entrypoint=worker.main,
            args=(folder, self.number, os.getpid(), self._resume_from, environment),
            rdzv_handler=StaticRendezvous(self._meeting, f"{self._job.run_id}-{self.number}"),
            max_restarts=0,
            monitor_interval=POLL_SECONDS,
        )
        return LocalElasticAgent(
            spec,
            # By itself it makes a folder in the temporary one, and leaves it there.
            DefaultLogsSpecs(log_dir=os.devnull),
            start_method="forkserver",
            exit_barrier_timeout=GRACE_SECONDS,
            shutdown_timeout=GRACE_SECONDS,
        )


def oom_kills(membership: Path = Path("/proc/self/cgroup"), groups: Path = _GROUPS) -> int:
    """How often the kernel has done so in this process's control group so far; compare before and after.

    Nothing readable counts as never, so that no kill is explained by a guess.
    """
    try:
        lines = membership.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    files = [file for line in lines for file in _counters(line, groups)]
    return max((_count(file) for file in files), default=0)


def _counters(line: str, groups: Path) -> list[Path]:
    """The files that may count, for a line such as `0::/user.slice` or `4:memory:/docker/...`."""
    number, controllers, place = line.split(":", 2)
    inside = place.lstrip("/")
    if number == "0":
        return [groups / inside / "memory.events", groups / "memory.events"]
    if "memory" in controllers.split(","):
        return [groups / "memory" / inside / "memory.oom_control", groups / "memory" / "memory.oom_control"]
    return []


def _count(file: Path) -> int:
    try:
        words = [line.split() for line in file.read_text(encoding="ascii").splitlines()]
    except OSError:
        return 0
    return sum(int(word[1]) for word in words if len(word) == 2 and word[0] == "oom_kill")
