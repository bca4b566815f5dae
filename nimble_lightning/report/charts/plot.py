"""A line chart: curves, bands of what they thin out, gaps, marks and a legend."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from nimble_lightning.report import quantities
from nimble_lightning.report.charts.scale import Scale, fitted
from nimble_lightning.report.downsample import Bucket

HEIGHT = 190
# Across, drawings are in thousandths of the width and stretched to it; their labels are not.
WIDTH = 1000
# Up to so many points on a curve each gets a dot to point at.
_FEW = 40
_STRIPS = 48


@dataclass(frozen=True)
class Line:
    """One curve, with the class of its colour."""

    name: str
    buckets: Sequence[Bucket]
    colour: int = 0


@dataclass(frozen=True)
class Mark:
    """Something that happened at an x; `kind` is the class it is drawn with."""

    x: float
    kind: str
    text: str


@dataclass(frozen=True)
class Across:
    """What is told along a chart.

    Attributes:
        name: What an x is, in words.
        label: What to write at an x.
        units: Round distances between labels, where those of ten are not.
        span: The xs to show; those of the curves unless given, so that charts side by side agree.
    """

    name: str = "step"
    label: Callable[[float], str] = quantities.number
    units: Sequence[float] = ()
    span: tuple[float, float] | None = None


@dataclass(frozen=True)
class Plot:
    """A chart.

    Attributes:
        title: What it shows.
        lines: Its curves.
        marks: What happened meanwhile.
        across: What is told along it.
        label: What to write at a y.
        log: Whether y is in powers of ten; None to let the values decide.
        top: A y that is always in view.
    """

    title: str
    lines: Sequence[Line]
    marks: Sequence[Mark] = ()
    across: Across = Across()
    label: Callable[[float], str] = quantities.number
    log: bool | None = None
    top: float | None = None

    def __html__(self) -> str:
        return str(_drawn(self))


def _drawn(plot: Plot) -> Markup:
    xs = [x for line in plot.lines for b in line.buckets for x in (b.first, b.last)]
    ys = [y for line in plot.lines for b in line.buckets if b.count for y in (b.low, b.high)]
    low, high = plot.across.span or ((min(xs), max(xs)) if xs else (0.0, 1.0))
    across = (
        Scale(low, high, WIDTH, label=plot.across.label, units=plot.across.units)
        if high > low
        else fitted([low], WIDTH)
    )
    if plot.top is not None:
        ys = [*ys, 0.0, plot.top]
    up = fitted(ys, HEIGHT, log=plot.log, label=plot.label)
    inside = Markup("").join(
        [*(_curve(line, across, up) for line in plot.lines), *(_gaps(line, across) for line in plot.lines)]
    )
    return Markup(
        '<div class="plot"><svg class="ys" aria-hidden="true">{ys}</svg>'
        '<svg class="area" role="img" aria-label="{title}">{grid}'
        '<svg class="data" viewBox="0 0 {width} {height}" height="{height}" preserveAspectRatio="none">'
        "{inside}</svg>{dots}{strips}{marks}</svg></div>"
    ).format(
        ys=_y_labels(up),
        title=plot.title,
        grid=_grid(across, up),
        width=WIDTH,
        height=HEIGHT,
        inside=inside,
        dots=_dots(plot, across, up),
        strips=_strips(plot, across),
        marks=_marks(plot.marks, across),
    )


def _y_labels(up: Scale) -> Markup:
    return Markup("").join(
        Markup('<text x="100%" dx="-8" y="{}" dy="4">{}</text>').format(_n(HEIGHT - up.place(y)), up.label(y))
        for y in up.ticks(4)
    )


def _grid(across: Scale, up: Scale) -> Markup:
    rows = [
        Markup('<line class="grid" x2="100%" y1="{0}" y2="{0}"/>').format(_n(HEIGHT - up.place(y)))
        for y in up.ticks(4)
    ]
    ends = [
        Markup('<text class="{}" x="{}" y="{}">{}</text>').format(
            _anchor(across.place(x)), _p(across.place(x)), HEIGHT + 18, across.label(x)
        )
        for x in across.ticks(4)
    ]
    return Markup("").join(rows + ends)


def _anchor(place: float) -> str:
    """At the ends a label stays within the drawing."""
    return "start" if place < WIDTH * 0.04 else "end" if place > WIDTH * 0.94 else "x"


def _curve(line: Line, across: Scale, up: Scale) -> Markup:
    parts = []
    for stretch in _stretches(line.buckets):
        places = [(across.place(b.x), b) for b in stretch]
        if any(b.high > b.low for b in stretch):
            above = [f"{_n(x)} {_n(HEIGHT - up.place(b.high))}" for x, b in places]
            below = [f"{_n(x)} {_n(HEIGHT - up.place(b.low))}" for x, b in reversed(places)]
            parts.append(f'<path class="band c{line.colour}" d="M{"L".join(above + below)}Z"/>')
        middle = "L".join(f"{_n(x)} {_n(HEIGHT - up.place(b.mean))}" for x, b in places)
        # A point alone has no length to be drawn along.
        middle += "h0" if len(places) == 1 else ""
        parts.append(f'<path class="line c{line.colour}" d="M{middle}"/>')
    return Markup("".join(parts))


def _stretches(buckets: Sequence[Bucket]) -> Iterator[list[Bucket]]:
    """Neighbours with something to draw; where numbers were lost the curve is broken."""
    for drawable, group in itertools.groupby(buckets, key=lambda b: b.count > 0 and not b.lost):
        if drawable:
            yield list(group)
        else:
            yield from ([b] for b in group if b.count)


def _gaps(line: Line, across: Scale) -> Markup:
    """Where a curve had values that are no numbers: a hatched band as wide as that lasted."""
    parts = []
    for lost, group in itertools.groupby(line.buckets, key=lambda b: b.lost > 0):
        if not lost:
            continue
        gone = list(group)
        begin, end = across.place(gone[0].first), across.place(gone[-1].last)
        text = escape(f"{line.name}: {sum(b.lost for b in gone):,} values that are no finite number")
        place = f'x="{_n(begin - 1)}" width="{_n(max(0.0, end - begin) + 2)}"'
        parts.append(
            Markup(f'<rect class="gap c{line.colour}" {place} height="{HEIGHT}"><title>{text}</title></rect>')
        )
    return Markup("").join(parts)


def _dots(plot: Plot, across: Scale, up: Scale) -> Markup:
    parts = []
    for line in plot.lines:
        if len(line.buckets) <= _FEW and all(b.low == b.high or not b.count for b in line.buckets):
            parts += [
                Markup('<circle class="dot c{}" cx="{}" cy="{}" r="{}"/>').format(
                    line.colour, _p(across.place(b.x)), _n(HEIGHT - up.place(b.low)), 3
                )
                for b in line.buckets
                if b.count
            ]
    return Markup("").join(parts)


def _strips(plot: Plot, across: Scale) -> Markup:
    """Columns to point at, each with what the curves are there."""
    columns: dict[int, list[str]] = {}
    for line in plot.lines:
        by_column: dict[int, list[Bucket]] = {}
        for b in line.buckets:
            column = min(int(across.place(b.x) / WIDTH * _STRIPS), _STRIPS - 1)
            by_column.setdefault(column, []).append(b)
        for column, buckets in by_column.items():
            columns.setdefault(column, []).append(_told(line.name, buckets, plot))
    width = 100 / _STRIPS
    return Markup("").join(
        Markup('<rect class="strip" x="{}%" width="{}%" height="{}"><title>{}</title></rect>').format(
            _n(column * width), _n(width), HEIGHT, "\n".join(texts)
        )
        for column, texts in sorted(columns.items())
    )


def _told(name: str, buckets: Sequence[Bucket], plot: Plot) -> str:
    whole = buckets[0]
    for b in buckets[1:]:
        whole = whole.joined(b)
    at, until = plot.across.label(whole.first), plot.across.label(whole.last)
    where = f"{plot.across.name} {at}" if at == until else f"{plot.across.name} {at} to {until}"
    if not whole.count:
        return f"{name}: no finite number ({where})"
    low, mean, high = (plot.label(y) for y in (whole.low, whole.mean, whole.high))
    return f"{name}: {mean} ({where})" if low == high else f"{name}: {mean}, from {low} to {high} ({where})"


def _marks(marks: Sequence[Mark], across: Scale) -> Markup:
    return Markup("").join(
        Markup(
            '<g class="mark {kind}"><line x1="{x}" x2="{x}" y1="0" y2="{height}"/>'
            '<circle cx="{x}" cy="0" r="4"/><title>{text}</title></g>'
        ).format(kind=mark.kind, x=_p(across.place(mark.x)), height=HEIGHT, text=mark.text)
        for mark in marks
        if across.low <= mark.x <= across.high
    )


def _n(value: float) -> str:
    """Short: a tenth of a pixel is as fine as anybody sees."""
    text = f"{value:.1f}" if math.isfinite(value) else "0"
    return text[:-2] if text.endswith(".0") else text


def _p(value: float) -> str:
    """Of the whole width, in per cent."""
    return f"{value / WIDTH * 100:.2f}%"
