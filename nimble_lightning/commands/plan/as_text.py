"""An answer for people, on 80 columns."""

from __future__ import annotations

import textwrap
from dataclasses import asdict

from nimble_lightning.commands.plan.planner import PlannedStep
from nimble_lightning.planning.bound import FORMULA
from nimble_lightning.planning.candidates import Candidate
from nimble_lightning.planning.machine import GIB

_HEAD = ("strategy", "micro-batch", "peak", "fits", "comm.", "s/step", "bound by")
_LEFT = (0, 6)


def render(answer: PlannedStep) -> str:
    """The question, a row for each candidate, and what to type."""
    rows = [_HEAD, *(_row(one) for one in answer.candidates)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(_cells(row, widths)).rstrip() for row in rows]
    notes = dict.fromkeys(f"{c.option.name}: {c.option.note}" for c in answer.candidates if c.option.note)
    said = [_wrapped(line) for line in (*_asked(answer), "", *table, *notes, "", *_conclusion(answer))]
    return "\n".join([*said, *_to_type(answer)])


def typed(answer: PlannedStep, one: Candidate) -> list[str]:
    """The overrides for a candidate."""
    pieces = [f"data.micro_batch_size={one.micro_batch}"] if answer.question.cut else []
    return [*one.option.overrides, *pieces]


def _asked(answer: PlannedStep) -> list[str]:
    question, machine = answer.question, answer.question.machine
    peak, source = machine.flops(question.number)
    return [
        f"{_count(question.model.numel)} parameters; a step of {question.batch_size} samples on each rank"
        + (f" takes {answer.flops / 1e12:.4g} TFLOP" if answer.flops else ""),
        f"{machine.nodes} x {machine.a_node} {machine.device}, {_size(machine.memory)}, "
        + (f"{peak / 1e12:.4g} TFLOP/s" if peak else source),
        *machine.notes,
    ]


def _row(one: Candidate) -> tuple[str, ...]:
    total = _size(one.memory.total)
    if one.at_least:
        return (one.option.name, "any", f"> {total}", "no", "", "", "")
    return (
        one.option.name,
        str(one.micro_batch),
        total,
        "yes" if one.fits else "no",
        _size(one.sent.total),
        f"{one.bound.seconds:.3g}",
        one.bound.by,
    )


def _conclusion(answer: PlannedStep) -> list[str]:
    one = answer.chosen
    if one is not None:
        return [*_recommended(answer, one), f"A step takes at least {FORMULA}."]
    least = min(answer.candidates, key=lambda c: c.memory.total)
    more = "at least " if least.at_least else ""
    lacking = f"Nothing fits: {least.option.name} lacks {more}{_size(least.memory.total - least.usable)}."
    return [f"{lacking} {'What would:' if answer.remedies else 'Nothing that was tried would.'}"]


def _recommended(answer: PlannedStep, one: Candidate) -> list[str]:
    question = answer.question
    speed = question.batch_size * one.option.layout.ranks / one.bound.seconds
    rate = f"{speed:,.0f} samples/s"
    if answer.tokens:
        rate = f"{speed * answer.tokens / question.batch_size:,.0f} tokens/s"
    memory = [f"{name} {_size(size)}" for name, size in asdict(one.memory).items() if size]
    sent = [f"{name.replace('_', '-')} {_size(size)}" for name, size in asdict(one.sent).items() if size]
    return [
        f"{one.option.name}, {_told(one)}; at most {rate} on all ranks.",
        f"Peak memory: {', '.join(memory)}.",
        f"Communication per rank and step: {', '.join(sent) or 'nothing'}.",
    ]


def _to_type(answer: PlannedStep) -> list[str]:
    """Never broken into lines: it is copied."""
    if answer.chosen is not None:
        words = typed(answer, answer.chosen)
        return ["", "Type: " + " ".join(words)] if words else []
    return [f"  {change}\n      {_told(one)}" for change, one in answer.remedies]


def _told(one: Candidate) -> str:
    return (
        f"micro-batch {one.micro_batch}: {_size(one.memory.total)} of {_size(one.usable)} usable, "
        f"{one.bound.seconds:.3g} s/step"
    )


def _cells(row: tuple[str, ...], widths: list[int]) -> list[str]:
    return [
        cell.ljust(width) if at in _LEFT else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _wrapped(line: str) -> str:
    # Rows of the table are made of runs of spaces, which have to stay.
    return line if "  " in line else textwrap.fill(line, 80)


def _size(size: int) -> str:
    return f"{size / GIB:.2f} GiB" if size >= GIB / 10 else f"{size / 2**20:.2f} MiB"


def _count(number: int) -> str:
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.4g} {word}"
    return f"{number:,}"
