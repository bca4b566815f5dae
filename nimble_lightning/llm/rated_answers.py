"""Single answers that are rated as desirable or not: read, encoded, and packed into rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nimble_lightning.errors import RequestError
from nimble_lightning.llm.chat_masks import BadConversation, ChatEncoder
from nimble_lightning.llm.conversations import conversation_of, rows_of
from nimble_lightning.llm.packing import IGNORED, Example
from nimble_lightning.llm.preference_pairs import collate_answers, table

_RATINGS = ("label", "kto_tag")
_MOST_STEPS = 64


@dataclass(frozen=True)
class RatedAnswer:
    """An answer, as it is learned from.

    Attributes:
        text: The answer with all that comes before it.
        desirable: Whether it is one to give.
        unrelated: The same begun, with the answer to something else.
        reference: The log-probabilities of both answers before any training.
    """

    text: Example
    desirable: bool
    unrelated: Example = Example([], [])
    reference: tuple[float, float] = (0.0, 0.0)

    @property
    def length(self) -> int:
        """In tokens; the two are in rows of their own."""
        return max(len(self.text.ids), len(self.unrelated.ids))


def read_rated(path: Path, encoder: ChatEncoder, longest: int) -> Iterator[RatedAnswer]:
    """The rated answers of a file: conversations in any format, each with a label.

    Raises:
        RequestError: A line has none, cannot be learned from, or is too long.
    """
    for place, row in rows_of(path):
        desirable = _rating(row, place)
        talk = conversation_of(row, place)
        if talk.messages[-1]["role"] != "assistant":
            raise RequestError(f"{place}: no answer that could be rated, its last turn is not an assistant's")
        try:
            (text,) = encoder(talk.messages, talk.tools)
        except BadConversation as error:
            raise RequestError(f"{place}: {error}") from None
        if len(text.ids) > longest:
            raise RequestError(
                f"{place}: the answer with what comes before it has {len(text.ids):,} tokens, rows have "
                f"{longest:,}; give params.longest, or take it out of the data"
            )
        yield RatedAnswer(text, desirable)


def with_unrelated(answers: Sequence[RatedAnswer], longest: int) -> list[RatedAnswer]:
    """Each with the answer of another: so far before it, for all, that the fewest prompts are the same.

    Raises:
        RequestError: All answer the same.
    """
    begun = [_begin(answer.text) for answer in answers]
    prompts = [hash(tuple(answer.text.ids[:at])) for answer, at in zip(answers, begun, strict=True)]
    steps = range(1, min(len(answers), _MOST_STEPS))

    def same(step: int) -> int:
        return sum(prompts[number] == prompts[number - step] for number in range(len(prompts)))

    step = next((n for n in steps if not same(n)), 0) or min(steps, key=same, default=0)
    if same(step) == len(answers):
        raise RequestError(
            f"{len(answers)} rated answers, all to the same: how far the model moves is told by answers to "
            "something else. Give more data, or more of it to evaluate on (params.eval_share, eval_data)"
        )
    found = []
    for number, answer in enumerate(answers):
        other, at, from_ = answers[number - step].text, begun[number], begun[number - step]
        ids = [*answer.text.ids[:at], *other.ids[from_:]]
        labels = [*answer.text.labels[:at], *other.labels[from_:]]
        unrelated = Example(ids, labels).first(longest)
        found.append(RatedAnswer(answer.text, answer.desirable, unrelated))
    return found


@dataclass
class UnrelatedAnswers:
    """Those of a whole batch, whichever piece of it they are with.

    Attributes:
        batch: Their rows, as tensors.
        divergence: What they came to on all ranks; None until that is known.
    """

    batch: dict[str, Tensor]
    divergence: Tensor | None = None

    def to(self, device: Any, **options: Any) -> UnrelatedAnswers:
        """On a device; what is found there is found for all pieces."""
        return UnrelatedAnswers({name: t.to(device, **options) for name, t in self.batch.items()})


def collate_rated(rows: Sequence[Sequence[RatedAnswer]], pad: int = 0) -> dict[str, Any]:
    """Rows as tensors."""
    batch = collate_answers([[answer.text for answer in row] for row in rows], pad)
    unrelated = collate_answers([[answer.unrelated for answer in row] for row in rows], pad)
    reference = [table([[answer.reference[part] for answer in row] for row in rows]) for part in (0, 1)]
    desirable = table([[float(answer.desirable) for answer in row] for row in rows])
    others = UnrelatedAnswers({**unrelated, "reference": reference[1]})
    return {**batch, "desirable": desirable, "reference": reference[0], "unrelated": others}


def _rating(row: Mapping[str, Any], place: str) -> bool:
    name = next((name for name in _RATINGS if name in row), None)
    if name is None:
        hint = "; pairs are for DPO" if "chosen" in row else ""
        raise RequestError(
            f"{place}: no label, it has {', '.join(map(str, row))}; expected label: true or false{hint}"
        )
    if not isinstance(row[name], bool | int) or row[name] not in (0, 1):
        raise RequestError(f"{place}: its {name} is {row[name]!r}, expected true or false")
    return bool(row[name])


def _begin(text: Example) -> int:
    """Where the answer begins."""
    return next(number for number, label in enumerate(text.labels) if label != IGNORED)
