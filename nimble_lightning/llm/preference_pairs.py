"""Pairs of answers of which one is preferred: read, encoded, and packed so that a pair shares a row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nimble_lightning.errors import RequestError
from nimble_lightning.llm.chat_masks import BadConversation, ChatEncoder
from nimble_lightning.llm.conversations import rows_of, turns_of
from nimble_lightning.llm.packing import Example, best_fit, collate_rows


@dataclass(frozen=True)
class Pair:
    """Two answers to the same, as they are learned from.

    Attributes:
        chosen: The better one, with all that comes before it.
        rejected: The other.
        reference: The log-probabilities of both before any training; zeros until they are known.
    """

    chosen: Example
    rejected: Example
    reference: tuple[float, float] = (0.0, 0.0)

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
        pair = Pair(chosen, rejected)
        if pair.length > longest:
            raise RequestError(
                f"{place}: both answers with what comes before them have {pair.length:,} tokens, rows have "
                f"{longest:,}; give params.longest, or take it out of the data"
            )
        if chosen.ids == rejected.ids:
            raise RequestError(f"{place}: both answers are the same")
        yield pair


def _talks(row: Mapping[str, Any], place: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    if "chosen" not in row or "rejected" not in row:
        raise RequestError(
            f"{place}: no pair, it has {', '.join(map(str, row))}; expected prompt, chosen, rejected"
        )
    asked = row.get("prompt", [])
    before = [{"role": "user", "content": asked}] if isinstance(asked, str) else list(asked)
    one, two = (turns_of([*before, *_said(row[name])], place) for name in ("chosen", "rejected"))
    if one[:-1] != two[:-1]:
        raise RequestError(f"{place}: chosen and rejected answer different questions")
    return one, two


def _said(answer: Any) -> list[Any]:
    return [{"role": "assistant", "content": answer}] if isinstance(answer, str) else list(answer)


class PairRows:
    """A dataset whose samples are rows of several pairs.

    Args:
        pairs: None longer than a row.
        room: Tokens of a row.
    """

    def __init__(self, pairs: Sequence[Pair], room: int) -> None:
        self.pairs = list(pairs)
        self.room = room
        self.rows = best_fit([pair.length for pair in pairs], room)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> list[Pair]:
        return [self.pairs[number] for number in self.rows[index]]

    @property
    def digest(self) -> str:
        """Of the tokens and of which are learned."""
        hashed = hashlib.sha256()
        for pair in self.pairs:
            for text in (pair.chosen, pair.rejected):
                hashed.update(repr((text.ids, text.labels)).encode())
        return hashed.hexdigest()


def collate_pairs(rows: Sequence[Sequence[Pair]], pad: int = 0) -> dict[str, Tensor]:
    """Rows as tensors: the better answers of a row have even numbers, each worse one the odd one after it."""
    texts = [[text for pair in row for text in (pair.chosen, pair.rejected)] for row in rows]
    batch = collate_rows(texts, pad)
    most = max(map(len, texts))
    answer = torch.zeros_like(batch["input_ids"])
    for number, row in enumerate(texts):
        lengths = torch.tensor([len(text.ids) for text in row])
        answer[number, : int(lengths.sum())] = torch.arange(len(row)).repeat_interleave(lengths)
    reference = torch.full((len(rows), most), float("nan"))
    for number, pairs in enumerate(rows):
        told = [value for pair in pairs for value in pair.reference]
        reference[number, : len(told)] = torch.tensor(told)
    return {**batch, "answer": answer, "reference": reference}
