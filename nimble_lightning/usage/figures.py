"""Figures that say how far they can be trusted: measured, estimated or assumed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

Kind = Literal["measured", "estimated", "assumed"]
Figure = dict[str, Any]

_DOUBT: dict[str, int] = {"measured": 0, "estimated": 1, "assumed": 2}


def figure(value: float | None, kind: str = "measured", note: str = "") -> Figure:
    """A number with how it came about ("measured", "estimated" or "assumed") and a remark."""
    return {"value": value, "kind": kind, "note": note}


def value_of(found: Any) -> float | None:
    """The number of a figure, or of a plain number."""
    value = found.get("value") if isinstance(found, Mapping) else found
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def weakest(kinds: Iterable[str]) -> str:
    """A sum is as doubtful as its most doubtful part."""
    return max(kinds, key=lambda kind: _DOUBT.get(kind, 2), default="measured")


def total(parts: Mapping[str, Figure]) -> Figure:
    """The sum of what is known, which names what is not."""
    known = {name: part for name, part in parts.items() if part["value"] is not None}
    missing = [name for name in parts if name not in known]
    if not known:
        return figure(None, "measured", "unknown")
    note = f"without {', '.join(missing)}, which is unknown" if missing else ""
    return figure(
        sum(part["value"] for part in known.values()), weakest(p["kind"] for p in known.values()), note
    )
