"""One start of a job's workers, by torchelastic, watched from outside."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from nimble_lightning.runtime import forkserver
from nimble_lightning.runtime.job import Job

if TYPE_CHECKING:
    from torch.distributed.launcher.api import LaunchConfig

# How long ranks that are left may take to end once one is gone: they wait in a collective that will not come.
GRACE_SECONDS = 3
POLL_SECONDS = 0.03


class Attempt:
    """The workers of one attempt.

    torchelastic runs in a thread, where it installs no signal handlers: what a signal means is decided in the main thread.

    Args:
        job: What to run.
        number: Which start of the run this is, from 1.
        workers: Processes on this machine.
        resume_from: The checkpoint to continue from.
    """

    def __init__(self, job: Job, number: int, workers: int, resume_from: str | None) -> None:
        self.number = number
        self.started = time.time()
        self.exit_codes: dict[int, int] = {}
        self.trouble: str | None = None
        self._job = job
        self._workers = workers
        self._resume_from = resume_from
        self._thread = threading.Thread(target=self._run, name=f"attempt-{number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within that time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every worker that is left."""
        for process in multiprocessing.active_children():
            if process.pid is not None:
                try:
                    os.kill(process.pid, number)
                except ProcessLookupError:
                    continue

    def _run(self) -> None:
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import elastic_launch

        from nimble_lightning.runtime import worker

        logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
        try:
            with forkserver.without_main():
                elastic_launch(self._launch_config(), worker.main)(
                    str(self._job.folder.path), self.number, os.getpid(), self._resume_from
                )
        except ChildFailedError as failed:
            self.exit_codes = {rank: failure.exitcode for rank, failure in failed.failures.items()}
        except Exception as error:  # the workers never started: said by the supervisor, in the main thread
            self.trouble = f"{type(error).__name__}: {error}"

    def _launch_config(self) -> LaunchConfig:
        from torch.distributed.launcher.api import LaunchConfig

        nodes: dict[str, Any] = {"min_nodes": 1, "max_nodes": 1, "rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0"}
        return LaunchConfig(
            **nodes,
            nproc_per_node=self._workers,
            run_id=f"{self._job.run_id}-{self.number}",
            max_restarts=0,
            monitor_interval=POLL_SECONDS,
            start_method="forkserver",
            local_addr="127.0.0.1",
            shutdown_timeout=GRACE_SECONDS,
        )
