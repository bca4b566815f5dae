"""A metric over the steps as a small picture: lines on a grid, no text, nothing but the standard library."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nimble_lightning.notifications import png

WIDTH, HEIGHT, _MARGIN = 480, 240, 12
_PAPER, _GRID, _LINE = (255, 255, 255), (224, 224, 224), (31, 119, 180)


class _Canvas:
    def __init__(self) -> None:
        self.pixels = bytearray(bytes(_PAPER) * (WIDTH * HEIGHT))

    def dot(self, x: int, y: int, colour: tuple[int, int, int]) -> None:
        if 0 <= x < WIDTH and 0 <= y < HEIGHT:
            at = 3 * (y * WIDTH + x)
            self.pixels[at : at + 3] = bytes(colour)

    def line(
        self, start: tuple[int, int], end: tuple[int, int], colour: tuple[int, int, int], thick: int = 1
    ) -> None:
        (x0, y0), (x1, y1) = start, end
        count = max(abs(x1 - x0), abs(y1 - y0), 1)
        for i in range(count + 1):
            x, y = round(x0 + (x1 - x0) * i / count), round(y0 + (y1 - y0) * i / count)
            for shift in range(thick):
                self.dot(x, y + shift, colour)
                self.dot(x + shift, y, colour)


def draw(points: Sequence[tuple[float, float]]) -> bytes | None:
    """The picture as PNG; None when there is no line to draw between fewer than two finite points."""
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if len(finite) < 2 or len({x for x, _ in finite}) < 2:
        return None
    canvas = _Canvas()
    for part in range(5):
        y = _MARGIN + (HEIGHT - 2 * _MARGIN) * part // 4
        canvas.line((_MARGIN, y), (WIDTH - _MARGIN, y), _GRID)
    placed = _placed(_thinned(sorted(finite)))
    for start, end in zip(placed, placed[1:], strict=False):
        canvas.line(start, end, _LINE, thick=2)
    return png.encode(bytes(canvas.pixels), WIDTH, HEIGHT, 3)


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most the lowest and the highest of each column, so that a spike is still there."""
    size = max(1, len(points) // (WIDTH - 2 * _MARGIN))
    if size < 3:
        return points
    kept = []
    for start in range(0, len(points), size):
        group = points[start : start + size]
        kept += sorted({min(group, key=lambda p: p[1]), max(group, key=lambda p: p[1])})
    return kept


def _placed(points: list[tuple[float, float]]) -> list[tuple[int, int]]:
    left, right = points[0][0], points[-1][0]
    low, high = min(y for _, y in points), max(y for _, y in points)
    across, up = (WIDTH - 2 * _MARGIN) / (right - left), (HEIGHT - 2 * _MARGIN) / ((high - low) or 1)
    return [
        (round(_MARGIN + (x - left) * across), round(HEIGHT - _MARGIN - (y - low) * up)) for x, y in points
    ]
