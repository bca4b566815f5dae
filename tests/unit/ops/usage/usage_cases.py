"""Pieces and accounts as a run would leave them."""

from __future__ import annotations

from typing import Any

from nimble_lightning.ops.usage.account import Subject, account
from nimble_lightning.ops.usage.energy import COUNTER, CPU, RAM
from nimble_lightning.ops.usage.piece import Piece
from nimble_lightning.ops.usage.terms import Prices, Terms

JOULES = 3.6e6


def piece(attempt: int = 1, rank: int = 0, **facts: Any) -> Piece:
    """Ten steps of a second each on one GPU, two samples a step, after two seconds of starting."""
    seconds = {"start": 2.0, "data": 1.0, "step": 10.0, "validation": 0.0, "checkpoint": 0.0, "other": 0.0}
    defaults: dict[str, Any] = {
        "started": 100.0,
        "updated": 113.0,
        "seconds": {**seconds, **facts.pop("seconds", {})},
        "state": "step",
        "last_step": 10,
        "samples": 20,
        "device": "NVIDIA H200",
        "joules": {"gpu": 2 * JOULES, "cpu": 0.5 * JOULES, "ram": 0.5 * JOULES},
        "sources": {"gpu": COUNTER, "cpu": CPU, "ram": RAM},
    }
    return Piece(attempt=attempt, rank=rank, **{**defaults, **facts})


def attempt(
    number: int, start: float, end: float | None, cause: str = "killed", **facts: Any
) -> dict[str, Any]:
    """An entry of run.json."""
    entry = {"number": number, "start": start, "first_step": 0, **facts}
    return entry if end is None else {**entry, "end": end, "cause": cause}


def usage(*found: Piece, terms: Terms | None = None, **subject: Any) -> dict[str, Any]:
    """The account of some pieces."""
    return account(
        Subject("r1", "digits", **{"final": True, **subject}), found or (piece(),), terms or Terms()
    )


def priced() -> Terms:
    return Terms(Prices(gpu_hour=3.6, kwh=0.5, currency="EUR"), grid=400)
