"""The curves of a metrics.csv: ours, or the one of Lightning's own logger."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nimble_lightning.ops import plain_files
from nimble_lightning.report.curves import Curve, chunks, gathered

_ABOUT = ("step", "epoch", "time", "attempt")
_LONGEST = 1 << 20


def read_table(path: Path) -> dict[str, Curve]:
    """The history that counts, by metric."""
    with plain_files.open_plain(path) as file:
        columns = next(csv.reader([file.readline(_LONGEST).decode("utf-8", "replace")]), [])
        begin = file.tell()
    return gathered(lambda: (list(_rows(columns, lines)) for lines in chunks(path, begin)))


def _rows(columns: Sequence[str], lines: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    """Rows as they are in a metrics.jsonl; a cell that is empty was not logged at that step."""
    for cells in csv.reader(line.decode("utf-8", "replace") for line in lines):
        if len(cells) != len(columns):
            continue
        row = dict(zip(columns, cells, strict=True))
        yield {
            "step": _whole(row.get("step")),
            "attempt": _whole(row.get("attempt")) or 1,
            "metrics": {name: cell for name, cell in row.items() if cell and name not in _ABOUT},
        }


def _whole(cell: str | None) -> int:
    try:
        return int(float(cell or 0))
    except ValueError:
        return 0
