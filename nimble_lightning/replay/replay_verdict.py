"""The verdict of `validator=replay`, made when the workers have gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.result import Result
from nimble_lightning.validators.verdict import Check, Verdict

NAME = "Replay"


def verdict(job: Job, train: Callable[[Job], Result]) -> Verdict:
    """Train stretches of a run again, and say what came of it.

    Args:
        job: The run.
        train: What runs a job to its end.
    """
    # They need torch and Lightning, which a process that only supervises can do without.
    from nimble_lightning.proof import commit_chain
    from nimble_lightning.proof.predicate import predicate_of
    from nimble_lightning.proof.verification_report import Report
    from nimble_lightning.replay import retrain

    folder = job.folder.path
    try:
        report = Report(claims=predicate_of(folder, commit_chain.commits(folder)))
        retrain.replay(folder, report, retrain.ReplayTerms(count=job.settings.stretches_replayed), train)
    except (RequestError, CheckpointError) as error:
        return Verdict(False, str(error).partition("\n")[0], validator=NAME)
    checks = tuple(Check(_told(entry), entry["same"], entry["from"], entry["to"]) for entry in report.replays)
    telling = [check.text for check in checks if check.passed == report.verified]
    summary = f"trained again, {'; '.join(telling)}"
    return Verdict(report.verified, summary, checks, {"notes": list(report.notes)}, NAME)


def _told(entry: Mapping[str, Any]) -> str:
    return f"steps {entry['from']} to {entry['to']}: {entry['text']}"
