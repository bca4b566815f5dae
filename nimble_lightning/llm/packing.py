"""Texts of unequal lengths in rows of one length: best fit, positions that begin anew, nothing cut up."""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

IGNORED = -100


@dataclass(frozen=True)
class Example:
    """The tokens of a text, and for each the token to learn there, or `IGNORED`."""

    ids: list[int]
    labels: list[int]
    cut: bool = False
    """Whether there was more of it."""

    @property
    def trained(self) -> int:
        """How many tokens are learned; the first of a text is never predicted."""
        return sum(label != IGNORED for label in self.labels[1:])

    def first(self, longest: int) -> Example:
        """No more than so many tokens of it."""
        if len(self.ids) <= longest:
            return self
        return Example(self.ids[:longest], self.labels[:longest], cut=True)


def best_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Which texts share a row: the longest first, each where it leaves the least room. Always the same."""
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: (-lengths[number], number)):
        length = lengths[number]
        at = bisect_left(free, (length, -1))
        if at == len(free):
            rows.append([number])
            left, row = room - length, len(rows) - 1
        else:
            left, row = free.pop(at)
            rows[row].append(number)
            left -= length
        insort(free, (left, row))
    return rows


class PackedRows:
    """A dataset whose samples are rows of several texts.

    Args:
        examples: The texts, none longer than a row. They are kept as plain numbers, four bytes each.
        room: Tokens of a row.
        apart: Whether each text has a row of its own, as long as it is.
    """

    def __init__(self, examples: Iterable[Example], room: int, *, apart: bool = False) -> None:
        self.room = room
        self._ids, self._labels = array("i"), array("i")
        self._ends = array("q", [0])
        for example in examples:
            self._ids.extend(example.ids)
            self._labels.extend(example.labels)
            self._ends.append(len(self._ids))
        lengths = self.lengths
        self.rows = [[number] for number in range(len(lengths))] if apart else best_fit(lengths, room)

    @property
    def lengths(self) -> list[int]:
        """Of the texts, in their order."""
        return [end - begin for begin, end in pairwise(self._ends)]

    @property
    def fullness(self) -> float:
        """The share of the rows that is taken."""
        return len(self._ids) / (self.room * max(len(self.rows), 1))

    def example(self, number: int) -> Example:
        """One of the texts."""
        place = slice(self._ends[number], self._ends[number + 1])
        return Example(self._ids[place].tolist(), self._labels[place].tolist())

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> list[Example]:
        return [self.example(number) for number in self.rows[index]]


def collate_rows(rows: Sequence[Sequence[Example]], pad: int = 0) -> dict[str, Tensor]:
    """Rows as tensors.

    Positions begin anew with each text, by which models of transformers tell that none sees another, as long
    as they are given neither an attention mask nor a cache. What is left of a row is a text of its own, of
    which nothing is learned.
    """
    width = max(sum(len(example.ids) for example in row) for row in rows)
    ids = torch.full((len(rows), width), pad)
    labels = torch.full((len(rows), width), IGNORED)
    positions = torch.zeros(len(rows), width, dtype=torch.long)
    counts = torch.zeros(len(rows), dtype=torch.long)
    for number, row in enumerate(rows):
        at = 0
        for example in row:
            end = at + len(example.ids)
            ids[number, at:end] = torch.tensor(example.ids)
            labels[number, at + 1 : end] = torch.tensor(example.labels[1:], dtype=torch.long)
            positions[number, at:end] = torch.arange(end - at)
            at = end
        positions[number, at:] = torch.arange(width - at)
        counts[number] = at
    return {"input_ids": ids, "labels": labels, "position_ids": positions, "num_tokens": counts}
