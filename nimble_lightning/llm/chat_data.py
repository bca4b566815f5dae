"""From files of conversations to examples, with an account of what became of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nimble_lightning.errors import RequestError
from nimble_lightning.llm.chat_masks import BadConversation, ChatEncoder
from nimble_lightning.llm.conversations import Source, read
from nimble_lightning.llm.packing import Example

OverLength = Literal["few", "drop", "cut"]

# So many may be left out without anybody's consent.
_FEW = 0.01
_REASONS = 3
_BARS = 8


@dataclass
class DataSummary:
    """What became of the conversations.

    Attributes:
        conversations: How many there are.
        rewritten: How many gave several examples, as the template rewrites their earlier turns.
        refused: Why some were left out: the reason, and where.
        too_long: Where those are that were left out for their length.
        cut: How many were cut to the longest length.
        lengths: Of all that can be learned from, in tokens, before anything was cut or left out.
        tokens: Of the examples.
        trained: How many of these are learned.
    """

    conversations: int = 0
    rewritten: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    too_long: list[str] = field(default_factory=list)
    cut: int = 0
    lengths: list[int] = field(default_factory=list)
    tokens: int = 0
    trained: int = 0

    def lines(self, fullness: float | None = None) -> list[str]:
        """The account in a few lines."""
        share = self.trained / max(self.tokens, 1)
        rows = "" if fullness is None else f", rows {fullness:.1%} full"
        found = [
            f"{self.conversations:,} conversations, {self.tokens:,} tokens, {share:.1%} of them learned{rows}"
        ]
        if self.rewritten:
            found.append(
                f"{self.rewritten:,} became an example for each answer: the template rewrites earlier turns"
            )
        if self.refused:
            found.append(f"{len(self.refused):,} left out: {self._reasons()}")
        if self.too_long:
            found.append(f"{len(self.too_long):,} left out as too long, the first is {self.too_long[0]}")
        if self.cut:
            found.append(f"{self.cut:,} cut to the longest length")
        return found

    def histogram(self) -> list[tuple[int, int]]:
        """How many texts are no longer than each of some lengths, and longer than the one before."""
        top = max(self.lengths, default=1)
        bounds = [-(-top * (bar + 1) // _BARS) for bar in range(_BARS)]
        counts = Counter(next(bound for bound in bounds if length <= bound) for length in self.lengths)
        return [(bound, counts[bound]) for bound in dict.fromkeys(bounds)]

    def require_most(self, longest: int, over_length: OverLength) -> None:
        """Refuse where more was left out than goes without saying, or nothing is left.

        Raises:
            RequestError: With how many, why, and what would keep them.
        """
        if len(self.refused) > _FEW * self.conversations:
            raise RequestError(
                f"of {self.conversations:,} conversations {len(self.refused):,} cannot be learned from: "
                f"{self._reasons()}\nUp to 1 % would be left out; take these out of the data"
            )
        if over_length == "few" and len(self.too_long) > _FEW * max(len(self.lengths), 1):
            ordered = sorted(self.lengths)
            half, most = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.99))
            raise RequestError(
                f"{len(self.too_long):,} of {len(self.lengths):,} texts are longer than {longest:,} tokens, "
                f"the first is {self.too_long[0]} (half of all have up to {half:,}, 99 % up to {most:,})\n"
                f"Give params.longest={most}, or params.over_length=drop or cut"
            )
        if not self.tokens:
            raise RequestError("the data holds no conversation to learn from")

    def _reasons(self) -> str:
        commonest = Counter(reason for reason, _ in self.refused).most_common(_REASONS)
        places = {reason: place for reason, place in reversed(self.refused)}
        return "; ".join(
            f"{places[reason]}: {reason}" + (f" ({n:,} times)" * (n > 1)) for reason, n in commonest
        )


@dataclass
class ChatReader:
    """Reads sources one after another.

    Attributes:
        encoder: Makes examples of conversations.
        longest: Tokens of an example.
        over_length: What becomes of longer ones; "few": up to 1 % are left out.
        share: How many conversations are held out to evaluate on, evenly from the whole of the data.
    """

    encoder: ChatEncoder
    longest: int
    over_length: OverLength = "few"
    share: float = 0.0
    summary: DataSummary = field(default_factory=DataSummary)
    held_out: list[Example] = field(default_factory=list)
    """Their examples, each once."""

    def read(self, sources: Sequence[Source]) -> Iterator[Example]:
        """The examples of all sources, each source as often as its weight says."""
        for source in sources:
            found: list[Example] = []
            for place, group in self._groups(source):
                held = falls_on(self.summary.conversations - 1, self.share)
                (self.held_out if held else found).extend(self._kept(group, place))
            # 2.5: all twice, and every other one a third time.
            yield from found * int(source.weight)
            yield from (example for n, example in enumerate(found) if falls_on(n, source.weight % 1))
        self.summary.rewritten = self.encoder.rewrites
        self.summary.require_most(self.longest, self.over_length)

    def _groups(self, source: Source) -> Iterator[tuple[str, list[Example]]]:
        for conversation in read(source.path):
            self.summary.conversations += 1
            try:
                yield conversation.place, self.encoder(conversation.messages, conversation.tools)
            except BadConversation as error:
                self.summary.refused.append((str(error), conversation.place))

    def _kept(self, group: Sequence[Example], place: str) -> Iterator[Example]:
        summary = self.summary
        for example in group:
            summary.lengths.append(len(example.ids))
            short = example.first(self.longest)
            if short.cut and (self.over_length != "cut" or not short.trained):
                summary.too_long.append(place)
                continue
            summary.cut += short.cut
            summary.tokens += len(short.ids)
            summary.trained += short.trained
            yield short


def falls_on(number: int, share: float) -> bool:
    """Whether one of many is among the so many of them that are taken, evenly."""
    return int((number + 1) * share) > int(number * share)
