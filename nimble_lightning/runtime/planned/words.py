"""An answer for people, on 80 columns, and for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nimble_lightning.planning.bound import FORMULA
from nimble_lightning.planning.choosing import USABLE, Candidate
from nimble_lightning.planning.machine import GIB
from nimble_lightning.runtime.planned.planner import Answer

_HEAD = ("strategy", "micro-batch", "peak GiB", "fits", "GB sent", "s a step", "bound by")


def render(answer: Answer) -> str:
    """The question, a row for each candidate, and what to type."""
    rows = [_HEAD, *(_row(one) for one in answer.candidates)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(
            cell.ljust(width) if at in (0, 6) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    notes = dict.fromkeys(f"{c.option.name}: {c.option.note}" for c in answer.candidates if c.option.note)
    return "\n".join([*_asked(answer), "", *table, *notes, "", *_conclusion(answer)])


def as_json(answer: Answer) -> dict[str, Any]:
    question = answer.question
    return {
        "machine": asdict(question.machine),
        "parameters": question.model.numel,
        "batch_size": question.batch_size,
        "tokens": answer.tokens,
        "flops": answer.flops,
        "peak_flops": question.machine.flops(question.number)[1],
        "usable_share": USABLE,
        "bound": FORMULA,
        "candidates": [_candidate(one) for one in answer.candidates],
        "recommended": None if answer.chosen is None else _candidate(answer.chosen),
        "remedies": [{"change": change, **_candidate(one)} for change, one in answer.remedies],
    }


def _asked(answer: Answer) -> list[str]:
    question, machine = answer.question, answer.question.machine
    peak, source = machine.flops(question.number)
    return [
        f"{_count(question.model.numel)} parameters, {question.batch_size} samples a rank and step, "
        f"{answer.flops / 1e12:.4g} TFLOP",
        f"{machine.nodes} x {machine.a_node} {machine.device}, {machine.memory / GIB:.1f} GiB, "
        + (f"{peak / 1e12:.4g} TFLOP/s" if peak else source),
        *machine.notes,
    ]


def _row(one: Candidate) -> tuple[str, ...]:
    total = f"{one.memory.total / GIB:.2f}"
    if one.at_least:
        return (one.option.name, "any", f">{total}", "no", "", "", "")
    return (
        one.option.name,
        str(one.micro_batch),
        total,
        "yes" if one.fits else "no",
        f"{one.sent.total / 1e9:.3g}",
        f"{one.bound.seconds:.3g}",
        one.bound.by,
    )


def _conclusion(answer: Answer) -> list[str]:
    one = answer.chosen
    if one is None:
        least = min(answer.candidates, key=lambda c: c.memory.total)
        lacking = (least.memory.total - least.usable) / GIB
        more = "at least " if least.at_least else ""
        lines = [f"Nothing fits: {least.option.name} lacks {more}{lacking:.2f} GiB. What would:"]
        for change, other in answer.remedies:
            lines += [f"  {change}", f"      {_told(other)}"]
        return lines if answer.remedies else [lines[0].replace(" What would:", " Nothing that was tried would.")]
    speed = answer.question.batch_size * answer.question.machine.ranks / one.bound.seconds
    rate = f"{speed:,.0f} samples/s"
    if answer.tokens:
        rate = f"{speed * answer.tokens / answer.question.batch_size:,.0f} tokens/s"
    return [
        f"{one.option.name}, micro-batch {one.micro_batch}: {_told(one)}; at most {rate} together.",
        *_parts(one),
        f"A step's time is {FORMULA}.",
        "Type: " + " ".join(typed(answer, one)),
    ]


def typed(answer: Answer, one: Candidate) -> list[str]:
    """The overrides for a candidate."""
    pieces = [f"data.micro_batch_size={one.micro_batch}"] if answer.question.cut else []
    return [*one.option.overrides, *pieces] or ["nothing more"]


def _told(one: Candidate) -> str:
    return (
        f"{one.memory.total / GIB:.2f} of {one.usable / GIB:.2f} GiB usable, micro-batch {one.micro_batch}, "
        f"{one.bound.seconds:.3g} s a step"
    )


def _parts(one: Candidate) -> list[str]:
    memory = ", ".join(
        f"{name} {size / GIB:.2f}" for name, size in asdict(one.memory).items() if size >= GIB / 200
    )
    sent = ", ".join(
        f"{name.replace('_', '-')} {size / 1e9:.3g}" for name, size in asdict(one.sent).items() if size
    )
    return [f"GiB at the peak: {memory}", f"GB sent by a rank and step: {sent or 'none'}"]


def _candidate(one: Candidate) -> dict[str, Any]:
    return {
        "strategy": one.option.name,
        "overrides": list(one.option.overrides),
        "micro_batch": one.micro_batch,
        "fits": one.fits,
        "at_least": one.at_least,
        "peak": one.memory.total,
        "memory": asdict(one.memory),
        "sent": asdict(one.sent),
        "seconds": None if one.at_least else one.bound.seconds,
        "bound": asdict(one.bound),
    }


def _count(number: int) -> str:
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.4g} {word}"
    return f"{number:,}"
