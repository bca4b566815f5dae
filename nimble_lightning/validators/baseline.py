"""Whether a model is better than others on the same data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.ops.metric_values import evaluated
from nimble_lightning.ops.objective import Objective, choose
from nimble_lightning.settings import RunSettings
from nimble_lightning.validators.verdict import Check, Verdict

if TYPE_CHECKING:
    from nimble_lightning.validators.comparison import Comparison
    from nimble_lightning.validators.evaluated_run import Run
    from nimble_lightning.validators.measurement import Measured
    from nimble_lightning.validators.references import References

_NOTHING = (
    "nothing to compare with, as train does everything itself: let baseline(self) return figures such as "
    "{'accuracy': 0.5}, or use validator=threshold"
)


class Baseline:
    """Passes when the trained model is better than every reference, and not by the luck of the samples.

    Args:
        reference: What to compare with, or a list: a run folder, a checkpoint, a file of safetensors, a
            folder or Hub id of a Hugging Face model, a name in `nl.models`, or `baseline`: the trainer's own
            `baseline(self)`, else the untrained model.
        metric: What counts; None takes what the run is judged by.
        mode: "min" or "max"; None asks as the run does: its `mode`, torchmetrics, the words of the name.
        margin: How much better it has to be, in the metric's own unit.
        seed: Of the resampling.

    Example::

        validator=baseline validator.reference=[bert-tiny,outputs/digits/yesterday] validator.margin=0.01
    """

    def __init__(
        self,
        reference: str | Sequence[str] = "baseline",
        metric: str | None = None,
        mode: Literal["min", "max"] | None = None,
        margin: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.reference = (reference,) if isinstance(reference, str) else tuple(reference)
        self.metric = metric
        self.mode = mode
        self.margin = margin
        self.seed = seed
        self.metrics = () if metric is None else (metric,)
        self._references: References | None = None

    def begin(self, run: Run) -> None:
        from nimble_lightning.validators.references import References

        self._references = References(self.reference)
        self._references.begin(run)

    def judge(self, run: Run) -> Verdict:
        references = self._references
        if references is None:
            self.begin(run)
            return self.judge(run)
        if run.module is None and not references.are_figures(run):
            return Verdict(None if self.reference == ("baseline",) else False, _NOTHING)
        ours = run.evaluate() if run.module is not None else _figures_of(run.metrics)
        try:
            objective = self._objective(run, ours)
        except RequestError as error:
            return Verdict(False, f"cannot be compared: {error}".replace("\n", "; "))
        found = [
            self._compared(
                objective, ours, references.measured(reference, run), references.told(reference, run)
            )
            for reference in self.reference
        ]
        checks = tuple(self._check(comparison) for comparison in found)
        facts = [_facts(comparison) for comparison in found]
        return Verdict(
            all(check.passed for check in checks),
            "; ".join(self._sentence(comparison) for comparison in found),
            checks,
            {"comparisons": facts},
        )

    def _objective(self, run: Run, ours: Measured) -> Objective:
        asked = RunSettings.from_config(run.config)
        monitor = self.metric or asked.monitor
        mode = self.mode or (asked.mode if monitor == asked.monitor else None)
        found = choose(evaluated(ours.metrics), monitor, mode, getattr(run.module, "higher_is_better", {}))
        if found is None:
            raise RequestError("the evaluation gave no metric")
        _ = found.required_mode
        return found

    def _compared(self, objective: Objective, ours: Measured, theirs: Measured, told: str) -> Comparison:
        from nimble_lightning.validators.comparison import Comparison, interval_of_mean

        name, mode = objective.metric, objective.required_mode
        value, other = ours.metrics[name], theirs.metrics.get(name, float("nan"))
        mine, its = ours.samples.get(name), theirs.samples.get(name)
        if mine is None or its is None:
            return Comparison(told, name, mode, value, other)
        if mine.shape != its.shape:
            raise TrainerError(
                f"{told} has {len(its)} values of {name} for {len(mine)} samples; "
                "give one for each, in their order."
            )
        gains = mine - its if mode == "max" else its - mine
        interval = interval_of_mean(gains, self.seed)
        share = name in ours.shares & theirs.shares
        return Comparison(told, name, mode, value, other, len(gains), interval, share)

    def _check(self, comparison: Comparison) -> Check:
        sign, by = (">", "+") if comparison.mode == "max" else ("<", "-")
        far = f" {by} {self.margin:g}" if self.margin else ""
        limit = comparison.other + (self.margin if comparison.mode == "max" else -self.margin)
        text = f"{comparison.metric} {sign} {comparison.reference}{far}"
        return Check(text, comparison.better_by(self.margin), comparison.value, limit)

    def _sentence(self, comparison: Comparison) -> str:
        short = bool(self.margin) and not comparison.better_by(self.margin)
        return comparison.sentence + (f", asked for more than {self.margin:g}" if short else "")


def _figures_of(metrics: Mapping[str, float]) -> Measured:
    from nimble_lightning.validators.measurement import Measured

    return Measured(metrics)


def _facts(comparison: Comparison) -> dict[str, Any]:
    return {**asdict(comparison), "gain": comparison.gain}
