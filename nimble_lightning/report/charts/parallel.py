"""Parallel coordinates: a line for each member of a sweep through all its settings to what it reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from nimble_lightning.report.charts.scale import Axis, axis

HEIGHT = 260
WIDTH = 1000


@dataclass(frozen=True)
class Strand:
    """A member: its values, one an axis, its place among the others from 0 (best) to 1, and its words."""

    values: Sequence[Any]
    rank: float
    text: str


@dataclass(frozen=True)
class Parallel:
    """The chart of a sweep, axis by axis."""

    names: Sequence[str]
    strands: Sequence[Strand]

    def __html__(self) -> str:
        axes = [
            axis(name, [strand.values[k] for strand in self.strands], HEIGHT)
            for k, name in enumerate(self.names)
        ]
        # The best is drawn last, above the rest.
        strands = sorted(self.strands, key=lambda strand: -strand.rank)
        lines = Markup("").join(_line(strand, axes) for strand in strands)
        return str(
            Markup(
                '<div class="parallel"><svg class="across" role="img" aria-label="settings and metric">'
                '<svg class="data" viewBox="0 0 {0} {1}" height="{1}" preserveAspectRatio="none">{2}</svg>'
                "{3}</svg></div>"
            ).format(
                WIDTH, HEIGHT, lines, Markup("").join(_axis(a, k, len(axes)) for k, a in enumerate(axes))
            )
        )


def _line(strand: Strand, axes: Sequence[Axis]) -> Markup:
    places = [
        f"{WIDTH * k / (len(axes) - 1):.1f} {HEIGHT - y:.1f}"
        for k, (one, value) in enumerate(zip(axes, strand.values, strict=True))
        if (y := one.place(value)) is not None
    ]
    if len(places) < 2:
        return Markup("")
    path = Markup('<path class="strand q{}" d="M{}"><title>{}</title></path>')
    return path.format(quintile(strand.rank), "L".join(places), strand.text)


def _axis(one: Axis, number: int, count: int) -> Markup:
    at = f"{100 * number / (count - 1):.2f}%"
    side = "end" if number == count - 1 else "start"
    shift = -8 if side == "end" else 8
    labels = Markup("").join(
        Markup('<text class="{} label" x="{}" dx="{}" y="{:.1f}" dy="4">{}</text>').format(
            side, at, shift, HEIGHT - place, text
        )
        for place, text in one.labels
    )
    where = "start" if number == 0 else "end" if number == count - 1 else "middle"
    return Markup(
        '<line class="axis" x1="{0}" x2="{0}" y1="0" y2="{1}"/>{2}'
        '<text class="{3} name" x="{0}" y="{4}">{5}</text>'
    ).format(at, HEIGHT, labels, where, HEIGHT + 24, one.name)


def quintile(rank: float) -> int:
    """The class of a rank: 0 for the best fifth."""
    return min(4, int(rank * 5))
