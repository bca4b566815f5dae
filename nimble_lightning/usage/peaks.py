"""What a device could do at most, operations a second first: a table with a source for each row.

Figures are dense ones: those for matrices that are half zeros, which vendors print first, are not reached by
training. What the table does not hold is unknown; nothing is guessed.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_TERA = 1e12
# Words that make another device of one: a notebook's, a faster or slower one, a slice.
_OTHERS = r"(?!.*\b(?:Ti|SUPER|D|DD|Laptop|Mobile|Max-Q|MIG)\b)"


class Capacity(NamedTuple):
    """What a device holds and moves, from where its peaks are: a data sheet, or a paper on its architecture.

    Attributes:
        memory: GiB, all there is: of GDDR, error correction takes a sixteenth.
        bandwidth: Of its memory, GB a second.
        link: To others of its node, GB a second one way: NVLink or its like, else PCIe.
    """

    memory: float
    bandwidth: float
    link: float


def peak_of(device: str, number: str) -> tuple[float | None, str]:
    """The peak of a device and where that is from, or None and why not.

    Args:
        device: Its name, as its driver tells it.
        number: bf16, fp16, tf32 or fp32; see `number_of`.
    """
    row = _row(device)
    if row is None:
        return None, f"the peak of {device} is not in the table; set peak_flops"
    if not row.get(number):
        return (
            None,
            f"the peak of {device} at {number or 'this precision'} is not in the table; set peak_flops",
        )
    return float(row[number]) * _TERA, f"{row['name']}, {number}: {row['source']}"


def capacity_of(device: str) -> Capacity | None:
    """What a device holds and moves; None where it is not in the table."""
    row = _row(device)
    if row is None:
        return None
    most = float(row["memory"])
    # There are smaller ones of the same name; what is larger is the memory of the CPU beside it.
    named = [float(size) for size in re.findall(r"(\d+)\s?GB\b", device) if float(size) <= most]
    return Capacity(named[0] if named else most, float(row["bandwidth"]), float(row["link"]))


def known_devices() -> list[str]:
    """The names in the table."""
    return sorted(row["name"] for _, row in _table())


def number_of(precision: str, *, tf32: bool) -> str:
    """The numbers that matrices are multiplied in, for Lightning's `precision`; empty for what is not known.

    Args:
        precision: Such as "bf16-mixed" or "32-true".
        tf32: Whether 32-bit products may be rounded (`torch.set_float32_matmul_precision`).
    """
    bits = precision.partition("-")[0]
    return {"bf16": "bf16", "16": "fp16", "32": "tf32" if tf32 else "fp32"}.get(bits, "")


def _row(device: str) -> dict[str, str] | None:
    return next((row for pattern, row in _table() if pattern.search(device)), None)


@cache
def _table() -> list[tuple[re.Pattern[str], dict[str, str]]]:
    """Longest names first, so that an L40S is not taken for an L40, nor that for an L4."""
    with files(__package__).joinpath("peaks.csv").open(encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: -len(row["name"]))
    return [(_pattern(row["name"]), row) for row in rows]


def _pattern(name: str) -> re.Pattern[str]:
    words = r"[\s_-]+".join(re.escape(word) for word in re.split(r"[\s-]", name))
    return re.compile(rf"(?<![A-Za-z0-9]){words}(?![A-Za-z0-9]){_OTHERS}", re.IGNORECASE)
