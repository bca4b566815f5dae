"""The last word on data that nothing before it has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.ranks import everyones
from nimble_lightning.validators.criteria import Criteria
from nimble_lightning.validators.verdict import Verdict

if TYPE_CHECKING:
    from nimble_lightning.validators.evaluated_run import Run
    from nimble_lightning.validators.sample_fingerprints import Overlap

_HELD = ("holdout_dataloader", "holdout_data")
_OTHERS = {
    "training": ("train_dataloader", "train_data", "train_dataset"),
    "evaluation": ("eval_dataloader", "eval_data", "val_data", "eval_dataset"),
}
# Figures in one sentence.
_TOLD = 3


class Holdout:
    """Passes when the held-out data was not trained or evaluated on, and what was asked holds on it.

    The data is the trainer's `holdout_data`, or what its `holdout_dataloader` returns: tensors, a dataset, a
    stream, as for the others. Nothing but this validator opens it.

    Args:
        criteria: What has to hold on that data; metrics are called as in the evaluation: `accuracy`.
        most_seconds: How long the search for shared samples may take on each of the other data. A sample is
            shared when all of it is equal, labels included; beyond that time the rest is not looked at, which
            the verdict then says.
    """

    def __init__(self, criteria: str | Sequence[str] = (), most_seconds: float = 300.0) -> None:
        self.criteria = Criteria(criteria)
        if self.criteria.references:
            raise RequestError("best_of(...) is not for held-out data; use validator=threshold.")
        self.most_seconds = most_seconds
        self.metrics = self.criteria.metrics

    def begin(self, run: Run) -> None:
        user = run.user
        if user is None or (user.get("holdout_data") is None and user.method("holdout_dataloader") is None):
            raise RequestError(
                "validator=holdout has no data. Set self.holdout_data in pre_process, or define "
                "holdout_dataloader."
            )
        if run.module is None:
            raise RequestError(
                "validator=holdout needs an evaluate(self, batch); here train does everything itself."
            )
        from nimble_lightning.adapters.data_module import are_sets

        held, evaluated = (user.get(*names) for _, *names in (_HELD, _OTHERS["evaluation"]))
        if are_sets(held) or are_sets(evaluated) or not run.evaluates:
            # No validation before the end will show what metrics are called on that data.
            self.metrics = ()

    def judge(self, run: Run) -> Verdict:
        # Reading is one rank's work, and all have to say the same about it.
        reads = run.trainer is None or run.trainer.is_global_zero
        overlaps = everyones(self._overlaps(run) if reads else {})[0]
        metrics = run.evaluate(data=run.holdout()).metrics
        met, checks = self.criteria.judge(metrics)
        sentences = [_told(overlaps, metrics)]
        if len(self.criteria):
            sentences.append(self.criteria.sentence(met, checks, metrics))
        shared = any(overlap.found for overlap in overlaps.values())
        facts = {
            "metrics": dict(metrics),
            "overlap": {name: asdict(overlap) for name, overlap in overlaps.items()},
        }
        return Verdict(met and not shared, "; ".join(sentences), tuple(checks), facts)

    def _overlaps(self, run: Run) -> dict[str, Overlap]:
        from nimble_lightning.validators.sample_fingerprints import fingerprints, is_comparable, overlap

        held = _sets(run, "held-out", _HELD)
        if not all(map(is_comparable, held.values())):
            raise TrainerError(
                "The held-out samples are others each time they are read, so that none can be recognized. "
                "Leave random transformations out of holdout_data."
            )
        known = {digest for source in held.values() for digest in fingerprints(source)}
        return {
            called: overlap(known, source, self.most_seconds)
            for name, names in _OTHERS.items()
            for called, source in _sets(run, name, names).items()
        }


def _sets(run: Run, name: str, names: Sequence[str]) -> dict[str, Any]:
    """Data by what it is called; of several sets, each by its own name too."""
    from nimble_lightning.adapters.data_module import are_sets

    if run.user is None:
        return {}
    method, *attributes = names
    build = run.user.method(method)
    source = run.user.get(*attributes) if build is None else build()
    if are_sets(source):
        return {f"{part} {name}": each for part, each in source.items()}
    return {} if source is None else {name: source}


def _told(overlaps: Mapping[str, Overlap], metrics: Mapping[str, float]) -> str:
    figures = ", ".join(f"{name}={value:.4g}" for name, value in list(metrics.items())[:_TOLD])
    shared = [
        f"{overlap.found:,} of the {overlap.checked:,} {name} samples"
        for name, overlap in overlaps.items()
        if overlap.found
    ]
    if shared:
        return f"{figures} on data that is not held out: it holds {' and '.join(shared)}"
    seen = [f"{_extent(overlap)} {name} samples" for name, overlap in overlaps.items()]
    return f"{figures} on held-out data, with none of the {' and '.join(seen)}"


def _extent(overlap: Overlap) -> str:
    if overlap.complete:
        return f"{overlap.checked:,}"
    return f"first {overlap.checked:,} of {'many' if overlap.size is None else f'{overlap.size:,}'}"
