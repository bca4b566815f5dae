"""The curves of a run out of its metrics.jsonl: read once, from the end, in memory that does not grow."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nimble_lightning.ops import plain_files
from nimble_lightning.report.downsample import Bucket, Downsampled

BUCKETS = 480
# Somebody who logs a figure for each layer and class gets them all in a table, not each in full.
_MANY = 100
_FEW_BUCKETS = 16

# By attempt and metric: the steps it was logged at, and its values.
Columns = dict[tuple[int, str], tuple[list[float], list[Any]]]
# For each metric, the first step each attempt logged it at.
Firsts = dict[str, dict[int, float]]


# Large enough that the work on a chunk outweighs the call, small enough that its rows fit a cache.
_CHUNK = 1 << 18
_LONGEST = 16 << 20


@dataclass(frozen=True)
class Curve:
    """What is left of a metric's history.

    Attributes:
        name: As it was logged.
        buckets: In the order in which it was logged.
        width: How many points a bucket stands for; 1 when every point is there.
        last: The value that was logged last.
    """

    name: str
    buckets: Sequence[Bucket]
    width: int
    last: float


class Collector:
    """Sorts rows, which come last first, into thinned curves.

    What a later attempt logs replaces what earlier ones logged from its first step on, metric by metric.
    Since later rows come first, it is known which steps those are by the time they come up.

    Args:
        firsts: When each attempt first logged each metric, where that is known beforehand.
    """

    def __init__(self, firsts: Firsts | None = None) -> None:
        self.firsts: Firsts = {} if firsts is None else firsts
        self.disordered = False
        self._known = firsts is not None
        self._thinned: dict[str, Downsampled] = {}
        self._last: dict[str, float] = {}

    def take(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, in the order of the file; the next call brings those before them."""
        try:
            columns = _columns(rows)
        except TypeError:
            columns = _columns([row for row in rows if _is_placed(row)])
        for (attempt, name), (steps, values) in sorted(columns.items(), key=lambda item: -item[0][0]):
            self._add(attempt, name, steps[::-1], numbers(values[::-1]))

    def curves(self) -> dict[str, Curve]:
        """The curves of all rows."""
        return {
            name: Curve(
                name, [b.turned() for b in reversed(thinned.buckets)], thinned.width, self._last[name]
            )
            for name, thinned in sorted(self._thinned.items())
        }

    def _add(self, attempt: int, name: str, steps: list[float], values: list[float]) -> None:
        firsts = self.firsts.setdefault(name, {})
        until = min((first for other, first in firsts.items() if other > attempt), default=math.inf)
        if not self._known:
            self.disordered |= any(other < attempt for other in firsts)
            firsts[attempt] = min(min(steps), firsts.get(attempt, math.inf))
        if max(steps) >= until:
            kept = [(step, value) for step, value in zip(steps, values, strict=True) if step < until]
            if not kept:
                return
            steps, values = map(list, zip(*kept, strict=True))
        if name not in self._thinned:
            self._last[name] = values[0]
            self._thinned[name] = Downsampled(BUCKETS if len(self._thinned) < _MANY else _FEW_BUCKETS)
        self._thinned[name].extend(steps, values)


def read_curves(path: Path) -> dict[str, Curve]:
    """The history that counts, by metric: what `read_metrics` gives, thinned; no extreme is lost."""
    return gathered(lambda: map(_rows, chunks(path)))


def gathered(batches: Callable[[], Iterable[Sequence[Mapping[str, Any]]]]) -> dict[str, Curve]:
    """The curves of rows that come in batches, the last batch of the file first."""
    collector = Collector()
    for rows in batches():
        collector.take(rows)
    if collector.disordered:
        # Attempts are mixed in the file, so what comes first from the end is not always what counts.
        collector = Collector(collector.firsts)
        for rows in batches():
            collector.take(rows)
    return collector.curves()


def _columns(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """The rows by attempt and metric, in their order."""
    alike: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        alike.setdefault((row.get("attempt") or 1, *row["metrics"]), []).append(row)
    keys = [(attempt, name) for attempt, *names in alike for name in names]
    if len(set(keys)) < len(keys):
        return _columns_of_mixed(rows)
    columns: Columns = {}
    for (attempt, *names), group in alike.items():
        steps = [row.get("step") or 0 for row in group]
        if not set(map(type, (attempt, *steps))) <= {int, float}:
            raise TypeError("a step or an attempt is no number")
        metrics = [row["metrics"] for row in group]
        columns.update({(attempt, name): (steps, [m[name] for m in metrics]) for name in names})
    return columns


def _columns_of_mixed(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """The same where a metric came now with these, now with those; a row at a time, which takes longer."""
    columns: Columns = {}
    for row in rows:
        for name, value in row["metrics"].items():
            steps, values = columns.setdefault((row.get("attempt") or 1, name), ([], []))
            steps.append(row.get("step") or 0)
            values.append(value)
    return columns


def _is_placed(row: Mapping[str, Any]) -> bool:
    """Whether a row says where it belongs; in a file that no run has written it may say anything."""
    return all(type(row.get(name) or 0) in (int, float) for name in ("step", "attempt"))


def numbers(values: Sequence[Any]) -> list[float]:
    """As floats; JSON lacks nan and the infinities, which are there as words."""
    try:
        return list(map(float, values))
    except (TypeError, ValueError, OverflowError):
        return [_number(value) for value in values]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _rows(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    return [row for row in parsed(lines) if isinstance(row.get("metrics"), dict)]


def chunks(path: Path, begin: int = 0, size: int = _CHUNK) -> Iterator[list[bytes]]:
    """Whole lines in groups, the last group first; within a group they are in the order of the file.

    Args:
        path: The file. What follows its last newline is torn, or still being written, and left out.
        begin: Where in it to stop.
        size: How many bytes to read at once.
    """
    with plain_files.open_plain(path) as file:
        end = position = file.seek(0, os.SEEK_END)
        rest = b""
        torn = True
        while position > begin:
            start = max(begin, position - size)
            file.seek(start)
            data = file.read(position - start) + rest
            position = start
            if torn:
                data = data[: data.rfind(b"\n") + 1]
                torn = not data
            # The first line may have begun in the chunk before; it may even be longer than a chunk.
            cut = 0 if start == begin else data.find(b"\n") + 1 or len(data)
            rest = data[:cut]
            if len(rest) > _LONGEST or (torn and end - position > _LONGEST):
                # A hole in a file, which may be as long as any disk.
                return
            if cut < len(data):
                yield data[cut:-1].split(b"\n")


def parsed(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """The objects on these lines; a line that is broken is passed over."""
    try:
        rows = json.loads(b"[" + b",\n".join(lines) + b"]")
    except (ValueError, RecursionError):
        rows = []
    # A line that is no value of its own could still have been completed by its neighbour.
    if len(rows) != len(lines):
        rows = [_read(line) for line in lines]
    return [row for row in rows if isinstance(row, dict)]


def _read(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
