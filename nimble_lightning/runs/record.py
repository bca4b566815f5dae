"""run.json: status, attempts, metrics and versions of a run, for scripts and people."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from typing import Any

from nimble_lightning.ops.metric_values import not_finite
from nimble_lightning.ops.run_files import read_json, write_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.cluster import schedulers
from nimble_lightning.runs.finished_flag import FinishedFlag
from nimble_lightning.runs.lost_attempt import LostAttempt
from nimble_lightning.runs.outcome import Outcome
from nimble_lightning.validators.verdict import Verdict

_PACKAGES = (
    "nimble_lightning",
    "lightning",
    "torch",
    "torchmetrics",
    "transformers",
    "datasets",
    "hydra-core",
)


class Record:
    """Keeps run.json true while a run goes on. Attempts of earlier commands stay in it."""

    def __init__(self, folder: RunFolder, run_id: str) -> None:
        self._folder = folder
        earlier = read_json(folder.run)
        self.attempts: list[dict[str, Any]] = earlier.get("attempts", [])
        self._content: dict[str, Any] = {
            "run_id": run_id,
            "status": earlier.get("status", "running"),
            "metrics": earlier.get("metrics", {}),
            "best": earlier.get("best"),
            "best_checkpoint": earlier.get("best_checkpoint"),
            "message": earlier.get("message", ""),
            "started": earlier.get("started", time.time()),
            "versions": versions(),
        }

    @property
    def content(self) -> dict[str, Any]:
        return {**self._content, "attempts": self.attempts}

    @property
    def spent(self) -> float:
        """Seconds that attempts have taken so far."""
        return sum((max(0.0, a.get("end", a["start"]) - a["start"]) for a in self.attempts), 0.0)

    def begin(
        self, resume_from: str | None, first_step: int, hosts: Sequence[str] = (), code: str | None = None
    ) -> int:
        """A new attempt starts, on several machines or just here; returns its number.

        Args:
            resume_from: The checkpoint it continues from.
            first_step: The step of that.
            hosts: The machines.
            code: Digest of the trainer's file.
        """
        number = len(self.attempts) + 1
        self.attempts.append(
            {"number": number, "start": time.time(), "resumed_from": resume_from, "first_step": first_step}
            | ({} if code is None else {"code": code})
            | schedulers.note()
        )
        if len(hosts) > 1:
            self.attempts[-1]["nodes"] = list(hosts)
        self.update(status="running", message="")
        return number

    def end(self, outcome: Outcome, last_step: int | None, at: float | None = None) -> None:
        """The attempt is over, now or since then."""
        entry = {
            "end": time.time() if at is None else at,
            "cause": outcome.cause,
            "reason": outcome.reason,
            "rank": outcome.rank,
            "last_step": last_step,
        }
        self.attempts[-1].update(entry)
        self.update()

    def end_abandoned(self, left: LostAttempt | None) -> None:
        """What the last supervisor was killed before it could write, if it was."""
        if left is not None and "end" not in self.attempts[-1]:
            self.end(left.outcome, left.step, left.at)

    def finish(self, flag: FinishedFlag, verdict: Verdict) -> None:
        """The run is finished: take over what training left in its finished flag."""
        metrics, before = flag.metrics, self._content["metrics"]
        if self.attempts[-1]["first_step"] == flag.global_step == before.get("global_step"):
            # Nothing was left to train: what training took, and what it came to, is known already.
            metrics = {
                n: before[n] if n in before and n.startswith("train_") else v for n, v in metrics.items()
            }
        self.update(
            status="finished",
            message="; ".join(filter(None, (flag.stopped_early, not_finite(metrics)))),
            stopped_early=flag.stopped_early,
            metrics=metrics,
            verdict=verdict.to_json(),
            best=flag.best,
            best_checkpoint=flag.best_checkpoint,
            ended=time.time(),
        )

    def update(self, **facts: Any) -> None:
        self._content.update(facts)
        write_json(self._folder.run, self.content)


@cache
def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide what a run computes."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
