"""What two trials say about each method: one that ran through, and one that was killed and went on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nimble_lightning.commands.check.lines import Lines, theirs
from nimble_lightning.commands.check.trial import Trial

RESUME = "kill and resume"
METHODS = ("pre_process", "train", "evaluate", "predict_and_show")
# The same in a LightningModule.
_ALSO = {
    "__init__": "pre_process",
    "setup": "pre_process",
    "prepare_data": "pre_process",
    "configure_optimizers": "pre_process",
    "training_step": "train",
    "compute_loss": "train",
    "validation_step": "evaluate",
    "test_step": "evaluate",
    "test": "evaluate",
}
# How far the same figures may lie apart when they were added up in another order.
_CLOSE = 1e-5
_CLOSE_ON_A_GPU = 1e-2
_SEEDED = "draw random numbers from torch, numpy or random, which the run seeds"


@dataclass
class PairOfTrials:
    """The trials on one number of processes; `killed` is None where the first did not even finish."""

    straight: Trial
    killed: Trial | None = None


@dataclass
class MethodFindings:
    """What is wrong with each method: "" for nothing, None where it was not tried."""

    wrong: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys((*METHODS, RESUME)))

    @property
    def passed(self) -> bool:
        return not any(self.wrong.values())


def examine(pair: PairOfTrials, lines: Lines, first: PairOfTrials | None = None) -> MethodFindings:
    """Judge the trials on some number of processes.

    Args:
        pair: These trials.
        lines: Of the trainer.
        first: The trials on one process, with whose figures these have to agree.
    """
    straight, killed = pair.straight, pair.killed
    verdict = MethodFindings()
    if straight.noted("start"):
        verdict.wrong["pre_process"] = _prepared(pair, first)
    if any(note["metrics"] for note in straight.noted("evaluated")):
        verdict.wrong["evaluate"] = _evaluated(pair, first)
    if straight.noted("trained"):
        verdict.wrong["train"] = _trained(pair)
    if straight.shown is not None:
        verdict.wrong["predict_and_show"] = _shown(straight.shown)
    for method in METHODS:
        if (wrong := verdict.wrong[method]) and "(" not in wrong[-40:]:
            verdict.wrong[method] = f"{wrong} ({lines.of(method)})"
    if straight.result.status != "finished":
        method, sentence = failure(straight)
        verdict.wrong[method] = sentence
    elif killed is not None:
        verdict.wrong[RESUME] = _resumed(straight, killed, lines, verdict)
    return verdict


def failure(trial: Trial) -> tuple[str, str]:
    """The method that failed, and a sentence with the user's line."""
    error = trial.error
    if not error:
        return "train", trial.result.message
    frames = theirs(error["traceback"])
    names = [_ALSO.get(function, function) for _, function in frames]
    method = next((name for name in names if name in METHODS), None)
    if method is None:
        method = "pre_process" if frames and not trial.noted("start") else "train"
    first_line = (str(error["message"]).strip().splitlines() or [""])[0]
    ours = "NimbleError" in error["bases"]
    sentence = first_line if ours else f"{error['type']}: {first_line}".removesuffix(": ")
    return method, sentence + (f" ({frames[-1][0]})" if frames else "")


def _prepared(pair: PairOfTrials, first: PairOfTrials | None) -> str:
    trials = [pair.straight, *([pair.killed] if pair.killed else []), *([first.straight] if first else [])]
    weights = [
        notes[0]["weights"]
        for trial in trials
        for rank in trial.notes
        if (notes := trial.noted("start", rank))
    ]
    for other in weights[1:]:
        if names := differing(weights[0], other):
            return f"pre_process gives other weights each time it runs ({names}); {_SEEDED}"
    return ""


def _evaluated(pair: PairOfTrials, first: PairOfTrials | None) -> str:
    metrics = _metrics(pair.straight)
    if bad := [name for name, value in metrics.items() if not math.isfinite(value)]:
        return f"evaluate gave {bad[0]}={metrics[bad[0]]}"
    again = _metrics(pair.killed) if pair.killed is not None else {}
    if again and (apart := _apart(metrics, again, 0.0)):
        return f"evaluate gives other figures for the same weights the second time: {apart}"
    if first is not None and _comparable(pair) and _comparable(first):
        alone = _metrics(first.straight)
        if apart := _apart(alone, metrics, max(_close(first), _close(pair))):
            return (
                f"evaluate gives other figures on 2 processes than on 1: {apart}; "
                "return one value per sample, their mean over the batch, or a torchmetrics object"
            )
    return ""


def _trained(pair: PairOfTrials) -> str:
    losses = {note["batch"]: note["loss"] for note in pair.straight.noted("trained")}
    for batch, loss in losses.items():
        if not math.isfinite(loss):
            return f"train gave a loss of {loss} in step {batch + 1}"
    for note in _until_killed(pair.killed.noted("trained") if pair.killed else []):
        batch, again = note["batch"], note["loss"]
        if losses.get(batch, again) != again:
            return (
                f"train gives another loss the second time (step {batch + 1}: "
                f"{losses[batch]:.6g}, then {again:.6g}); {_SEEDED}"
            )
    return ""


def _until_killed(notes: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Until then the second trial is the first once more; after it, a batch comes again."""
    newest = -1
    for note in notes:
        if note["batch"] <= newest:
            return
        newest = note["batch"]
        yield note


def _shown(index: list[dict[str, Any]]) -> str:
    broken = next((entry for entry in index if "error" in entry), None)
    if broken is not None:
        return f"predict_and_show: {broken['error']}" + (
            f" ({Path(broken['line']).name})" if "line" in broken else ""
        )
    return "" if index else "predict_and_show gave nothing to show"


def _resumed(straight: Trial, killed: Trial, lines: Lines, so_far: MethodFindings) -> str | None:
    if killed.result.status != "finished":
        return f"after a kill it did not go on: {failure(killed)[1]}"
    if len(killed.result.attempts) < 2:
        return None
    end, other = straight.noted("end")[-1:], killed.noted("end")[-1:]
    names = differing(end[0]["weights"], other[0]["weights"]) if end and other else ""
    if not names or so_far.wrong["pre_process"] or so_far.wrong["train"]:
        return "" if not names else None
    return (
        f"killed and resumed, it ends with other weights ({names}); "
        "train depends on something no checkpoint holds, such as the clock, an iterator or an object of a "
        "class of yours; a run names those it finds at its first save. Attributes that hold plain values, "
        f"arrays, tensors or random generators are restored ({lines.of('train')})"
    )


def differing(one: dict[str, str], other: dict[str, str]) -> str:
    """The names of the tensors that are not the same; "" if all are."""
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _metrics(trial: Trial) -> dict[str, float]:
    notes = trial.noted("evaluated")
    return notes[0]["metrics"] if notes else {}


def _comparable(pair: PairOfTrials) -> bool:
    return all(note["comparable"] for note in pair.straight.noted("start"))


def _close(pair: PairOfTrials) -> float:
    full = all(note["full_precision"] for note in pair.straight.noted("start"))
    return _CLOSE if full else _CLOSE_ON_A_GPU


def _apart(one: dict[str, float], other: dict[str, float], close: float) -> str:
    for name in {**one, **other}:
        a, b = one.get(name, math.nan), other.get(name, math.nan)
        if not math.isclose(a, b, rel_tol=close, abs_tol=close):
            return f"{name} is {a:.6g}, then {b:.6g}"
    return ""
