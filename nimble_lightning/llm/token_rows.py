"""Texts as rows of tokens, all of one length: a stream that goes on from any place without reading again."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

from nimble_lightning.data.placed_stream import PlacedStream, StreamOrder
from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.llm.packing import IGNORED
from nimble_lightning.llm.text_sources import Cursor, TextSource, digest, held_out

# What is tokenized at once.
_TEXTS, _CHARACTERS = 64, 1 << 18


class TokenRow(NamedTuple):
    """Tokens, for each the one to learn after it, and how many are of each text."""

    ids: array[int]
    labels: array[int]
    lengths: list[int]


@dataclass(frozen=True)
class TextEncoder:
    """Makes tokens of texts.

    Special tokens that stand in a text are learned as text: what ends a document is never part of one.

    Attributes:
        tokenizer: Of the tokenizers library.
        begin: The token in front of each text, from which its first one is learned.
        end: The token that is learned after each text.
    """

    tokenizer: Tokenizer
    begin: int
    end: int

    @classmethod
    def of(cls, tokenizer: Any, end: str | None = None) -> TextEncoder:
        """As a tokenizer of transformers has it.

        Raises:
            RequestError: It has no token to end a text with.
        """
        stop = tokenizer.eos_token_id if end is None else tokenizer.convert_tokens_to_ids(end)
        if stop is None or (end is not None and stop == tokenizer.unk_token_id):
            raise RequestError(
                f"the tokenizer has no token {end!r}"
                if end
                else "the tokenizer names no token that ends a text; give params.end=TOKEN"
            )
        own = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        own.no_truncation()
        own.no_padding()
        before = own.encode("", add_special_tokens=True).ids
        own.encode_special_tokens = True
        return cls(own, before[0] if before else stop, stop)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each, without any in front or after."""
        found = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoded.ids for encoded in found]


class TokenRows(PlacedStream):
    """Rows of as many tokens as asked for; what does not fit in one goes on in the next.

    Each row says how many of its tokens are of each text; the last of an epoch may be shorter. An epoch ends
    when every source has been read whole; a source that is through before begins again.

    Args:
        sources: Of texts. Of several, the next text is from the one that is furthest behind its weight.
        encoder: Makes tokens.
        length: Of a row.
        share: Which texts are not trained on, by their content.
        evaluates: Whether these are what is read, instead of all others.
    """

    def __init__(
        self,
        sources: Sequence[TextSource],
        encoder: TextEncoder,
        length: int,
        share: float = 0.0,
        *,
        evaluates: bool = False,
    ) -> None:
        self.sources, self.encoder, self.length = list(sources), encoder, length
        self._keep = partial(_kept, share=share, evaluates=evaluates)
        self._digest = digest(sources, encoder.tokenizer.to_str(), repr((length, share, evaluates)))

    def read_from(
        self, place: dict[str, Any] | None, order: StreamOrder
    ) -> Iterator[tuple[TokenRow, dict[str, Any]]]:
        """The rows of an epoch from a place on, each with the place after it."""
        texts = _MixedTexts(self.sources, self.encoder, self._keep, order, place)
        skipped = int(place["token"]) if place else 0
        row = TokenRow(array("i"), array("i"), [])
        for ids in texts:
            inputs, labels = [self.encoder.begin, *ids], [*ids, self.encoder.end]
            at = skipped
            while at < len(inputs):
                taken = min(self.length - len(row.ids), len(inputs) - at)
                row.ids.extend(inputs[at : at + taken])
                row.labels.extend(labels[at : at + taken])
                row.lengths.append(taken)
                at += taken
                if len(row.ids) == self.length:
                    yield row, self._place(texts, at, whole=at == len(inputs))
                    row = TokenRow(array("i"), array("i"), [])
            skipped = 0
        if row.ids:
            yield row, self._place(texts, 0, whole=True)

    def beginnings(self, count: int, tokens: int) -> Iterator[list[int]]:
        """The first tokens of the first texts, as they lie there."""
        texts = self.sources[0].texts(StreamOrder(0, 0, False), self._keep, Cursor())
        for cursor, text in islice(texts, count):
            if not cursor.passed:
                yield self.encoder([text])[0][:tokens]

    def require(self, place: dict[str, Any]) -> None:
        """Refuse a place in other texts, or in these as another tokenizer reads them."""
        if place["data"] != self._digest:
            raise CheckpointError(
                "the texts, their weights, the tokenizer or params.length are not those of the checkpoint, "
                "so its place in them means nothing. Restore them, or start anew with resume=never."
            )

    def _place(self, texts: _MixedTexts, at: int, *, whole: bool) -> dict[str, Any]:
        return {"data": self._digest, "token": 0 if whole else at, **texts.state(whole=whole)}


class _MixedTexts:
    """The tokens of one text after another, each from the source whose turn it is."""

    def __init__(
        self,
        sources: Sequence[TextSource],
        encoder: TextEncoder,
        keep: Callable[[str], bool],
        order: StreamOrder,
        place: dict[str, Any] | None,
    ) -> None:
        self._weights = [source.weight for source in sources]
        self._names = [f"data={source.files[0].path}" for source in sources]
        # Of each source, its next text; what it gave, in tokens; of which source the last one was.
        self._next = [Cursor(*at) for at in place["next"]] if place else [Cursor()] * len(sources)
        self._taken: list[int] = list(place["taken"]) if place else [0] * len(sources)
        self._last: int | None = place["last"] if place else None
        self._before = list(self._next)
        self._streams = [
            _encoded(source.texts(order._replace(seed=order.seed + number), keep, start), encoder)
            for number, (source, start) in enumerate(zip(sources, self._next, strict=True))
        ]

    def __iter__(self) -> Iterator[list[int]]:
        if self._last is not None:
            # The middle of a text, which has been counted.
            yield self._read(self._last, next(self._streams[self._last]))
        through = {number for number, at in enumerate(self._next) if at.passed}
        while True:
            turn = min(range(len(self._weights)), key=lambda n: (self._taken[n] / self._weights[n], n))
            found = next(self._streams[turn], None)
            if found is None:
                raise RequestError(
                    f"{self._names[turn]}: no text of it is left for this; look at params.eval_share"
                )
            if found[0].passed:
                through.add(turn)
            if len(through) == len(self._streams):
                return
            self._taken[turn] += len(found[1]) + 1
            yield self._read(turn, found)

    def state(self, *, whole: bool) -> dict[str, Any]:
        """Where to go on after the last text, or within it."""
        at = list(self._next)
        if not whole and self._last is not None:
            at[self._last] = self._before[self._last]
        return {
            "next": [list(one) for one in at],
            "taken": list(self._taken),
            "last": None if whole else self._last,
        }

    def _read(self, turn: int, found: tuple[Cursor, list[int]]) -> list[int]:
        cursor, ids = found
        self._last, self._before[turn] = turn, cursor
        self._next[turn] = cursor._replace(text=cursor.text + 1)
        return ids


def _encoded(texts: Iterator[tuple[Cursor, str]], encoder: TextEncoder) -> Iterator[tuple[Cursor, list[int]]]:
    """The tokens of each text, some texts at a time."""
    waiting: list[tuple[Cursor, str]] = []
    size = 0
    for cursor, text in texts:
        if waiting and (cursor.passed != waiting[0][0].passed):
            # Nothing of the next time through is made before it is asked for.
            yield from _made(waiting, encoder)
            waiting, size = [], 0
        waiting.append((cursor, text))
        size += len(text)
        if len(waiting) >= _TEXTS or size >= _CHARACTERS:
            yield from _made(waiting, encoder)
            waiting, size = [], 0
    yield from _made(waiting, encoder)


def _made(texts: Sequence[tuple[Cursor, str]], encoder: TextEncoder) -> Iterator[tuple[Cursor, list[int]]]:
    ids = encoder([text for _, text in texts])
    return zip([cursor for cursor, _ in texts], ids, strict=True)


def _kept(text: str, share: float, evaluates: bool) -> bool:
    return not share or held_out(text, share) is evaluates


def collate_token_rows(
    rows: Sequence[TokenRow], length: int, pad: int = 0, *, cross_documents: bool = False
) -> dict[str, Tensor]:
    """Rows as tensors; labels stand where they are predicted.

    Positions begin anew with each text, by which models of transformers tell that none sees another, as long
    as they are given neither an attention mask nor a cache. What is left of a row is a text of its own, of
    which nothing is learned.
    """
    ids = torch.full((len(rows), length), pad)
    labels = torch.full((len(rows), length), IGNORED)
    positions = torch.zeros(len(rows), length, dtype=torch.long)
    for number, row in enumerate(rows):
        size = len(row.ids)
        ids[number, :size] = torch.frombuffer(row.ids, dtype=torch.int32)
        labels[number, :size] = torch.frombuffer(row.labels, dtype=torch.int32)
        lengths = [size] if cross_documents else row.lengths
        positions[number] = torch.cat([torch.arange(n) for n in (*lengths, length - size)])
    counts = torch.tensor([len(row.ids) for row in rows])
    return {"input_ids": ids, "labels": labels, "position_ids": positions, "num_tokens": counts}
