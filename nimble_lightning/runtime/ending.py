"""What is done once a run has ended, whichever way: the end is told."""

from __future__ import annotations

import contextlib
from typing import Any

from nimble_lightning.ops import events
from nimble_lightning.ops.events import ENDS, EventKind
from nimble_lightning.runtime import accounting, refreshing, signing
from nimble_lightning.runtime.exporting import after_run
from nimble_lightning.runtime.job import Job
from nimble_lightning.runtime.notifying import resume_command
from nimble_lightning.runtime.result import Result

_ENDED = {str(kind): kind for kind in ENDS}


def complete(job: Job, result: Result) -> Result:
    """Do for a run that has ended what needs no trainer any more."""
    accounting.complete(job)
    after_run.finish(job)
    refreshing.complete(job)
    signing.complete(job)
    last = result.attempts[-1] if result.attempts else {}
    tell(
        job,
        EventKind.PREEMPTED if result.comes_back else _ENDED[result.status],
        attempt=len(result.attempts),
        message=result.message,
        exit_code=result.exit_code,
        metrics=result.metrics,
        verdict=result.verdict,
        seconds=result.seconds,
        command=None if result.status == "finished" or result.comes_back else resume_command(job),
        **{name: last.get(name) for name in ("cause", "reason", "rank")},
        step=last.get("last_step"),
    )
    after_run.push(job)
    return result


def tell(job: Job, kind: EventKind, **facts: Any) -> None:
    """Add an event to the run's outbox. A run does not end because it could not be told about."""
    with contextlib.suppress(OSError):
        events.append(job.folder.path, kind, run=job.run_id, name=job.name, **facts)
