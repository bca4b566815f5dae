"""What a run came to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nimble_lightning.errors import RunError
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.metric_values import not_finite
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.validators.verdict import NOT_JUDGED, Verdict

Status = Literal["running", "finished", "failed", "stopped", "submitted"]

# The last entry of show/index.json until all results are in it.
NOT_SHOWN = "predict_and_show did not come to its end"


@dataclass
class Result:
    """How a run ended.

    Attributes:
        status: "finished", "failed" or "stopped"; "submitted" while it is in a queue.
        metrics: Final figures of the best weights, and of the training: `train_loss`, `train_runtime`,
            `train_steps_per_second`, `train_samples_per_second`, `global_step`.
        folder: The run folder.
        best: What the run is judged by: `metric`, `mode`, the `reason`, and the `step` of the best weights.
        best_checkpoint: The checkpoint whose weights were evaluated last, if any.
        message: One or two lines for people.
        exit_code: What the command exits with.
        attempts: One entry a start, with cause, start, end, first and last step.
        verdict: What the validator said: `passed` (None where none was asked), `summary`, `criteria`.
        comes_back: It was stopped by somebody who starts it again.
    """

    status: Status
    metrics: dict[str, float]
    folder: Path
    best_checkpoint: Path | None = None
    message: str = ""
    exit_code: int = ExitCode.FINISHED
    attempts: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    verdict: dict[str, Any] = field(default_factory=NOT_JUDGED.to_json)
    comes_back: bool = False
    best: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, record: Mapping[str, Any], message: str) -> Result:
        """From what run.json says."""
        best, attempts = record.get("best_checkpoint"), record.get("attempts", [])
        if odd := not_finite(record.get("metrics", {})):
            message = f"{message.rstrip('.')}, but {odd}"
        verdict = Verdict.from_json(record.get("verdict"))
        if verdict.passed is not None:
            word = "passed" if verdict.passed else "not passed"
            message = f"{message.rstrip('.')}, {word}: {verdict.summary}"
        return cls(
            status=record["status"],
            metrics=record.get("metrics", {}),
            folder=folder,
            best=record.get("best") or {},
            best_checkpoint=Path(best) if best else None,
            message=message,
            exit_code=ExitCode.CRITERIA_NOT_MET if verdict.passed is False else ExitCode.FINISHED,
            attempts=attempts,
            verdict=verdict.to_json(),
            seconds=sum(max(0.0, a.get("end", a["start"]) - a["start"]) for a in attempts),
        )

    @classmethod
    def finished(cls, folder: Path, record: Mapping[str, Any]) -> Result:
        """Of a run that came to its end, or was ended early for a reason that its record has."""
        return cls.of(folder, record, ", ".join(filter(None, ("finished", record["stopped_early"]))))

    @classmethod
    def ahead(cls, folder: Path, message: str, exit_code: int) -> Result:
        """Of a run that did not come to begin, here at least."""
        return cls("stopped", {}, folder, message=message, exit_code=exit_code)

    def check(self) -> Result:
        """Itself, if the run finished or waits in a queue.

        Raises:
            RunError: It failed or was stopped.
            KeyboardInterrupt: It was stopped by Ctrl-C, which is meant for the script around it as well.
        """
        if self.status not in ("failed", "stopped"):
            return self
        if self.exit_code == ExitCode.INTERRUPTED:
            raise KeyboardInterrupt(self.message)
        raise RunError(f"{self.message}  {self.folder}", self)

    def to_json(self) -> dict[str, Any]:
        """For another process."""
        best = None if self.best_checkpoint is None else str(self.best_checkpoint)
        return {**vars(self), "folder": str(self.folder), "best_checkpoint": best}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Result:
        best = facts["best_checkpoint"]
        paths = {"folder": Path(facts["folder"]), "best_checkpoint": None if best is None else Path(best)}
        return cls(**{**facts, **paths})

    @property
    def global_step(self) -> int:
        return int(self.metrics.get("global_step", 0))

    @property
    def training_loss(self) -> float:
        return self.metrics.get("train_loss", float("nan"))


def cut_short(folder: RunFolder) -> bool:
    """Whether a finished run was ended before all its results were shown."""
    try:
        entries = json.loads((folder.show_index).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(entries, list) and {"caption": "", "error": NOT_SHOWN} in entries
