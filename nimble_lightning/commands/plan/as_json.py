"""An answer for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nimble_lightning.commands.plan.as_text import typed
from nimble_lightning.commands.plan.planner import Answer
from nimble_lightning.planning.bound import FORMULA
from nimble_lightning.planning.candidates import USABLE, Candidate


def as_json(answer: Answer) -> dict[str, Any]:
    """Bytes, seconds and operations."""
    question, chosen = answer.question, answer.chosen
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
        "recommended": None if chosen is None else {**_candidate(chosen), "overrides": typed(answer, chosen)},
        "remedies": [{**_candidate(one), "change": change} for change, one in answer.remedies],
    }


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
