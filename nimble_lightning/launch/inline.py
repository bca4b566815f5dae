"""A run in this very process: for debuggers and notebooks. Nothing watches it and nothing is retried."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from functools import partial
from typing import Any

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.runs import lifecycle
from nimble_lightning.runs.completion import report_page
from nimble_lightning.runs.finished_flag import FinishedFlag
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.lifecycle import Lifecycle
from nimble_lightning.runs.outcome import Outcome
from nimble_lightning.runs.request.setting_effects import unwatched
from nimble_lightning.runs.result import Result
from nimble_lightning.worker import output
from nimble_lightning.worker.training import Training

log = logging.getLogger(__name__)


def run_inline(job: Job, trainer: Any = None) -> Result:
    """Train in this process, the trainer that the job names or the given one.

    Errors come out as they are, for a debugger to stop at.

    Raises:
        RequestError: Something is asked for that takes other processes.
    """
    if job.settings.stretches_replayed:
        raise RequestError(
            "validator=replay trains in processes of its own, which launch=inline does not start. "
            "Leave launch=inline out, or type afterwards: nimble-cli verify FOLDER --replay 1"
        )
    return lifecycle.run(job, partial(_work, trainer))


def _work(trainer: Any, life: Lifecycle) -> Result:
    job = life.job
    life.tell_start()
    attempt, resume_from = life.begin()
    try:
        with output.to_log(job.folder, 0, 0, job.settings.log):
            if lost := unwatched(job.settings.asked or ()):
                log.warning("nobody watches a run in one process: %s changes nothing", ", ".join(lost))
            # Only where a number asks for pages meanwhile: they take time of the process that trains.
            pages = nullcontext() if isinstance(job.settings.report, bool) else report_page.meanwhile(job)
            with pages:
                Training(job, attempt, resume_from=resume_from).run(trainer)
    except BaseException as error:
        step = getattr(error, "nimble_step", None)
        _over(life, Outcome(Cause.TRANSIENT, f"{type(error).__name__}: {error}", 0, step))
        raise
    flag = FinishedFlag.read(job.folder)
    return _over(life, Outcome(Cause.FINISHED, step=None if flag is None else flag.global_step))


def _over(life: Lifecycle, outcome: Outcome) -> Result:
    life.end(outcome)
    return life.finish(life.conclude(outcome))
