"""The outcome of a check for people: a table, then a sentence for each thing that is wrong."""

from __future__ import annotations

from nimble_lightning.commands.check.findings import METHODS, RESUME, MethodFindings, Pair
from nimble_lightning.commands.check.trial import STEPS

_WORDS = {None: "-", "": "ok"}


def render(verdicts: list[MethodFindings], notes: dict[str, str]) -> str:
    """One row a method, one column for each number of processes."""
    rows = [["", "1 process", "2 processes", ""]]
    for method in (*METHODS, RESUME):
        cells = [_WORDS.get(verdict.wrong[method], "FAILED") for verdict in verdicts]
        rows.append([method, *cells, notes.get(method, "") if "ok" in cells else ""])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([*lines, *_wrong(verdicts)])


def notes(one: Pair, samples: int) -> dict[str, str]:
    """What a passed method came to on one process."""
    found = {RESUME: "the same bits as undisturbed"}
    trial = one.straight
    for start in trial.noted("start")[:1]:
        found["pre_process"] = f"{start['seconds']:.1f} s, the same weights each time"
        several = f" of {samples} samples" if start["comparable"] else ""
        for evaluated in trial.noted("evaluated")[:1]:
            found["evaluate"] = f"{', '.join(evaluated['metrics'])}{several}"
    if losses := [note["loss"] for note in trial.noted("trained")]:
        found["train"] = f"loss {losses[0]:.4g} -> {losses[-1]:.4g} in {STEPS} steps"
    if trial.shown:
        found["predict_and_show"] = f"{len(trial.shown)} shown"
    return found


def _wrong(verdicts: list[MethodFindings]) -> list[str]:
    """Each sentence once, with the numbers of processes it holds for."""
    said: dict[str, list[str]] = {}
    for verdict, processes in zip(verdicts, ("1 process", "2 processes"), strict=True):
        for wrong in verdict.wrong.values():
            if wrong:
                said.setdefault(wrong, []).append(processes)
    return [f"FAILED on {' and '.join(where)}: {sentence}" for sentence, where in said.items()]
