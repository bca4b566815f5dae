"""Sums over the processes of a run, each with how far it can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nimble_lightning.usage.carbon import grid_of
from nimble_lightning.usage.energy import JOULES_A_KWH, KINDS
from nimble_lightning.usage.figures import Figure, figure, total, value_of, weakest
from nimble_lightning.usage.prices import Prices
from nimble_lightning.usage.rank_record import RankRecord

_PARTS = ("gpu", "cpu", "ram")


def energy(found: Sequence[RankRecord], pue: float) -> dict[str, Figure]:
    """Kilowatt-hours of each part and together; with a `pue` above 1, those of the building around them."""
    on_gpu = any(piece.device != "cpu" for piece in found)
    parts = {part: _part(found, part) for part in _PARTS if part != "gpu" or on_gpu}
    together = total(parts)
    if pue > 1 and together["value"] is not None:
        note = "; ".join(filter(None, (f"with a PUE of {pue:g} as given", together["note"])))
        together = figure(together["value"] * pue, "assumed", note)
    return {"gpu": figure(0.0, "measured", "no GPU was used"), **parts, "total": together}


def tokens(found: Sequence[RankRecord], share: Callable[[RankRecord], float]) -> Figure:
    """The tokens a run trained on, each process's count weighed with its share."""
    known = [piece for piece in found if piece.tokens is not None]
    if not known:
        return figure(None, "measured", "batches hold no input_ids")
    value = round(sum((piece.tokens or 0.0) * share(piece) for piece in known))
    return figure(value, weakest(piece.tokens_kind for piece in known), known[-1].tokens_note)


def flops(found: Sequence[RankRecord]) -> Figure:
    """Operations carried out, those in vain included."""
    known = [piece for piece in found if piece.flops is not None]
    note = next((piece.flops_note for piece in reversed(known or found)), "")
    return figure(sum(piece.flops or 0.0 for piece in known) if known else None, "estimated", note)


def mfu(found: Sequence[RankRecord]) -> Figure:
    """Operations over what the devices could have done while training, waits for data included."""
    known = [piece for piece in found if piece.flops and piece.peak_flops]
    possible = sum(
        (piece.peak_flops or 0.0) * (piece.seconds.get("step", 0.0) + piece.seconds.get("data", 0.0))
        for piece in known
    )
    if not possible:
        missing = next((p.flops_note if not p.flops else p.peak_note for p in reversed(found)), "")
        return figure(None, "estimated", missing or "unknown")
    return figure(sum(piece.flops or 0.0 for piece in known) / possible, "estimated", known[-1].peak_note)


def cost(prices: Prices, device_seconds: float, together: Figure) -> dict[str, Any]:
    """What the user's prices make of it."""
    amount, parts = 0.0, []
    if prices.gpu_hour is not None:
        amount += prices.gpu_hour * device_seconds / 3600
        parts.append(f"{device_seconds / 3600:.4g} device hours at {prices.gpu_hour:g}")
    kwh = value_of(together)
    if prices.kwh is not None and kwh is not None:
        amount += prices.kwh * kwh
        parts.append(f"{kwh:.4g} kWh at {prices.kwh:g}")
    if not parts:
        return {"amount": figure(None, "assumed", "no prices were given"), "currency": prices.currency or ""}
    return {"amount": figure(amount, "assumed", " and ".join(parts)), "currency": prices.currency or ""}


def carbon(asked: float | str | None, together: Figure) -> Figure:
    """The CO2e of an amount of energy, by the carbon intensity of the grid."""
    grid, kwh = grid_of(asked), value_of(together)
    if grid is None or kwh is None:
        return figure(None, "assumed", "no grid was given" if grid is None else "the energy is unknown")
    return figure(kwh * grid.grams / 1000, "assumed", grid.note)


def _part(found: Sequence[RankRecord], part: str) -> Figure:
    known = [piece for piece in found if piece.joules.get(part) is not None]
    if not known:
        return figure(None, "measured", "unknown")
    sources = list(dict.fromkeys(piece.sources.get(part, "") for piece in known))
    kind = weakest(KINDS.get(source, "estimated") for source in sources)
    return figure(sum(piece.joules[part] or 0.0 for piece in known) / JOULES_A_KWH, kind, ", ".join(sources))
