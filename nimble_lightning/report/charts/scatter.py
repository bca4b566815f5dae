"""One setting of a sweep against what was reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from nimble_lightning.report.charts.parallel import quintile
from nimble_lightning.report.charts.scale import axis

HEIGHT = 170
WIDTH = 100


@dataclass(frozen=True)
class Dot:
    """A member: what its setting was, what it reached, its place among the others, its words."""

    x: Any
    y: float
    rank: float
    text: str


@dataclass(frozen=True)
class Scatter:
    """The chart of one setting."""

    x_name: str
    y_name: str
    dots: Sequence[Dot]

    def __html__(self) -> str:
        across = axis(self.x_name, [dot.x for dot in self.dots], WIDTH)
        up = axis(self.y_name, [dot.y for dot in self.dots], HEIGHT)
        rows = up.scale.ticks(4) if up.scale is not None else []
        heights = [(HEIGHT - up.place(y), up.scale.label(y)) for y in rows if up.scale is not None]  # type: ignore[operator]
        names = Markup("").join(
            Markup('<text x="100%" dx="-8" y="{:.1f}" dy="4">{}</text>').format(y, label)
            for y, label in heights
        )
        lines = Markup("").join(
            Markup('<line class="grid" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>').format(y) for y, _ in heights
        )
        labels = Markup("").join(
            Markup('<text class="x" x="{:.2f}%" y="{}">{}</text>').format(place, HEIGHT + 18, text)
            for place, text in across.labels
        )
        dots = Markup("").join(_dot(dot, across.place(dot.x), up.place(dot.y)) for dot in self.dots)
        return str(
            Markup(
                '<div class="plot low"><svg class="ys" aria-hidden="true">{}</svg>'
                '<svg class="area" role="img" aria-label="{} against {}">{}{}{}</svg></div>'
            ).format(names, self.y_name, self.x_name, lines, labels, dots)
        )


def _dot(dot: Dot, x: float | None, y: float | None) -> Markup:
    if x is None or y is None:
        return Markup("")
    circle = Markup('<circle class="member q{}" cx="{:.2f}%" cy="{:.1f}" r="4.5"><title>{}</title></circle>')
    return circle.format(quintile(dot.rank), x, HEIGHT - y, dot.text)
