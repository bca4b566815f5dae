"""The page of a run, written again and again while it goes on, and a last time when it has ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nimble_lightning.runs.job import Job

log = logging.getLogger(__name__)

INTERVAL = 30.0
# The first page comes early: somebody may be waiting for it.
FIRST = 5.0
# Of one core; a page that takes longer to write is written less often.
SHARE = 0.02


class Refresher:
    """Writes the page at an interval. Whatever goes wrong with it is said once, and costs the run nothing.

    Args:
        job: The run.
        interval: Seconds between two pages, at least.
    """

    def __init__(self, job: Job, interval: float) -> None:
        self._job = job
        self._interval = interval
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write no more pages; one that is being written is still brought to its end."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        wait = min(FIRST, self._interval)
        while not self._over.wait(wait):
            began = time.thread_time()
            if not write(self._job):
                return
            wait = max(self._interval, (time.thread_time() - began) / SHARE)


@contextmanager
def meanwhile(job: Job) -> Iterator[None]:
    """Keep the page up to date until the block ends."""
    interval = wanted(job)
    if interval is None:
        yield
        return
    refresher = Refresher(job, interval)
    refresher.start()
    try:
        yield
    finally:
        refresher.stop()


def complete(job: Job) -> None:
    """Write the page of a run that has ended."""
    if wanted(job) is not None:
        write(job)


def wanted(job: Job) -> float | None:
    """Seconds between two pages; None where none is wanted."""
    asked = job.settings.report
    if not asked:
        return None
    return INTERVAL if asked is True else float(asked)


def write(job: Job) -> bool:
    """Write the page, from what the folder holds now; False if that failed."""
    try:
        # Here, because a run without a page has no use for templates.
        from nimble_lightning.report import build

        build(job.folder.path)
    except Exception as error:  # a page is never worth a run
        log.warning("the page could not be written: %s: %s", type(error).__name__, error)
        return False
    return True
