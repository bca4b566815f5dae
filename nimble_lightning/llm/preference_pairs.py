"""Pairs of answers of which one is preferred: read, encoded, and packed so that a pair shares a row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from nimble_lightning.errors import RequestError
from nimble_lightning.llm.chat_masks import BadConversation, ChatEncoder
from nimble_lightning.llm.conversations import rows_of, said, turns_of
from nimble_lightning.llm.packing import Example, best_fit, collate_rows


class HasLength(Protocol):
    """What takes a place in a row."""

    @property
    def length(self) -> int:
        """In tokens."""
        ...


A = TypeVar("A", bound=HasLength)


@dataclass(frozen=True)
class Pair:
    """Two answers to the same, as they are learned from.

    Attributes:
        chosen: The better one, with all that comes before it.
        rejected: The other.
        reference: The log-probabilities of both before any training; zeros until they are known.
        margin: By how much it is better, where the data says so; rewards are told apart by it.
    """

    chosen: Example
    rejected: Example
    reference: tuple[float, float] = (0.0, 0.0)
    margin: float = 0.0

    @property
    def length(self) -> int:
        """In tokens."""
        return len(self.chosen.ids) + len(self.rejected.ids)


def read_pairs(path: Path, encoder: ChatEncoder, longest: int) -> Iterator[Pair]:
    """The pairs of a file: prompt, chosen and rejected, or two conversations that begin alike.

    Raises:
        RequestError: A line is no pair, cannot be learned from, or is too long.
    """
    for place, row in rows_of(path):
        talks = _talks(row, place)
        try:
            chosen, rejected = (encoder(talk)[-1] for talk in talks)
        except BadConversation as error:
            raise RequestError(f"{place}: {error}") from None
        pair = Pair(chosen, rejected, margin=_margin(row, place))
        if pair.length > longest:
            raise RequestError(
                f"{place}: both answers with what comes before them have {pair.length:,} tokens, rows have "
                f"{longest:,}; give params.longest, or take it out of the data"
            )
        if chosen.ids == rejected.ids:
            raise RequestError(f"{place}: both answers are the same")
        yield pair


def _margin(row: Mapping[str, Any], place: str) -> float:
    margin = row.get("margin", 0.0)
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not math.isfinite(margin):
        raise RequestError(f"{place}: its margin is {margin!r}, expected a number")
    return float(margin)


def _talks(row: Mapping[str, Any], place: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    if "chosen" not in row or "rejected" not in row:
        raise RequestError(
            f"{place}: no pair, it has {', '.join(map(str, row))}; expected prompt, chosen, rejected"
        )
    before = said("user", row.get("prompt", []))
    one, two = (turns_of([*before, *said("assistant", row[n])], place) for n in ("chosen", "rejected"))
    if one[:-1] != two[:-1]:
        raise RequestError(f"{place}: chosen and rejected answer different questions")
    return one, two


class AnswerRows(Generic[A]):
    """A dataset whose samples are rows of several pairs, or single answers.

    Args:
        answers: None longer than a row.
        room: Tokens of a row.
    """

    def __init__(self, answers: Sequence[A], room: int) -> None:
        self.answers = list(answers)
        self.room = room
        self.rows = best_fit([answer.length for answer in answers], room)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> list[A]:
        return [self.answers[number] for number in self.rows[index]]


def collate_pairs(rows: Sequence[Sequence[Pair]], pad: int = 0) -> dict[str, Tensor]:
    """Rows as tensors: the better answers of a row have even numbers, each worse one the odd one after it."""
    batch = collate_answers([[t for pair in row for t in (pair.chosen, pair.rejected)] for row in rows], pad)
    return {**batch, "reference": table([[v for pair in row for v in pair.reference] for row in rows])}


def collate_answers(rows: Sequence[Sequence[Example]], pad: int = 0) -> dict[str, Tensor]:
    """Rows of texts as tensors, with the number that each token's text has in its row."""
    batch = collate_rows(rows, pad)
    answer = torch.zeros_like(batch["input_ids"])
    for number, row in enumerate(rows):
        lengths = torch.tensor([len(text.ids) for text in row])
        answer[number, : int(lengths.sum())] = torch.arange(len(row)).repeat_interleave(lengths)
    return {**batch, "answer": answer}


def table(rows: Sequence[Sequence[float]]) -> Tensor:
    """Rows of unequal lengths as one tensor; what is not there is no number."""
    found = torch.full((len(rows), max(map(len, rows))), float("nan"))
    for number, row in enumerate(rows):
        found[number, : len(row)] = torch.tensor(row)
    return found
