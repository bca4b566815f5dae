"""Pieces and accounts as a run would leave them."""

from __future__ import annotations

from typing import Any

from nimble_lightning.usage.account import UsageSubject, account
from nimble_lightning.usage.energy import COUNTER, CPU, RAM
from nimble_lightning.usage.prices import Prices, UsageTerms
from nimble_lightning.usage.rank_record import RankRecord

JOULES = 3.6e6


def piece(attempt: int = 1, rank: int = 0, **facts: Any) -> RankRecord:
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
    return RankRecord(attempt=attempt, rank=rank, **{**defaults, **facts})


def attempt(
    number: int, start: float, end: float | None, cause: str = "killed", **facts: Any
) -> dict[str, Any]:
    """An entry of run.json."""
    entry = {"number": number, "start": start, "first_step": 0, **facts}
    return entry if end is None else {**entry, "end": end, "cause": cause}


def usage(*found: RankRecord, terms: UsageTerms | None = None, **subject: Any) -> dict[str, Any]:
    """The account of some pieces."""
    return account(
        UsageSubject("r1", "digits", **{"final": True, **subject}), found or (piece(),), terms or UsageTerms()
    )


def priced() -> UsageTerms:
    return UsageTerms(Prices(gpu_hour=3.6, kwh=0.5, currency="EUR"), grid=400)
