"""What training leaves in the run folder when it has come to its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from nimble_lightning.ops.run_files import read_json, write_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.validators.verdict import NOT_JUDGED, Verdict


@dataclass(frozen=True)
class FinishedFlag:
    """The only sign that a run is done, and from the worker to whoever runs it: what it came to.

    Attributes:
        metrics: Final figures, by name.
        attempt: In which the training ended.
        best: What the run is judged by: `metric`, `mode`, the `reason`, the `step` of the best weights.
        best_checkpoint: The checkpoint whose weights were evaluated last.
        stopped_early: Why it ended before its time; empty where it did not.
        verdict: Of the validator.
        epochs: How many were trained; None for a trainer that trains by itself.
        mid_epoch: Whether it ended within one.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    attempt: int = 1
    best: Mapping[str, Any] | None = None
    best_checkpoint: str | None = None
    stopped_early: str = ""
    verdict: Verdict = NOT_JUDGED
    epochs: int | None = None
    mid_epoch: bool = False

    @property
    def global_step(self) -> int | None:
        """The step at which the training ended, where it is known."""
        step = self.metrics.get("global_step")
        return None if step is None else int(step)

    def write(self, folder: RunFolder) -> None:
        """Say that the run in a folder is done."""
        write_json(folder.finished, {**asdict(self), "verdict": self.verdict.to_json()})

    @classmethod
    def read(cls, folder: RunFolder) -> FinishedFlag | None:
        """The flag of the run in a folder; None while it is not done."""
        content = read_json(folder.finished)
        if not content:
            return None
        known = {each.name: content[each.name] for each in fields(cls) if each.name in content}
        return cls(**{**known, "verdict": Verdict.from_json(content.get("verdict"))})
