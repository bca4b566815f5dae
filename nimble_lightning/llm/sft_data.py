"""What a model is fine-tuned on: read, packed, and ready to be looked at. Needs no weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from transformers import AutoConfig, GenerationConfig

from nimble_lightning.errors import RequestError
from nimble_lightning.llm.causal_lm import base_of, load_tokenizer
from nimble_lightning.llm.chat_data import ChatReader, DataSummary, OverLength
from nimble_lightning.llm.chat_masks import ChatEncoder, Learn, stop_tokens
from nimble_lightning.llm.conversations import sources_of
from nimble_lightning.llm.packing import IGNORED, PackedRows
from nimble_lightning.ops.marked_text import MarkedText

_LONGEST = 2048
_SAMPLES = 3


@dataclass(frozen=True)
class SFTData:
    """Rows to train on and to evaluate on, with all that is told of them.

    Attributes:
        tokenizer: By which they were read.
        stops: The texts of the tokens that end an answer.
        train: To train on.
        held_out: To evaluate on; it may be empty.
        summary: What became of the conversations.
    """

    tokenizer: Any
    stops: list[str]
    train: PackedRows
    held_out: PackedRows
    summary: DataSummary

    def lines(self) -> list[str]:
        """The account in a few lines."""
        told = f"rows of {self.train.room:,} tokens; {len(self.train.lengths):,} examples to train on"
        return [
            *self.summary.lines(self.train.fullness),
            f"{told}, {len(self.held_out.lengths):,} to evaluate on",
        ]

    def tables(self) -> Iterator[tuple[str, Any]]:
        """The account and the lengths, each with a caption."""
        summary = self.summary
        yield (
            "what it learned from",
            {
                "conversations": summary.conversations,
                "left out": len(summary.refused) + len(summary.too_long),
                "cut": summary.cut,
                "tokens": summary.tokens,
                "learned": f"{summary.trained / max(summary.tokens, 1):.1%}",
                "rows": f"{len(self.train):,} of {self.train.room:,} tokens, {self.train.fullness:.1%} full",
            },
        )
        bars = [{"up to so many tokens": bound, "texts": count} for bound, count in summary.histogram()]
        yield "how long its texts are", bars

    def samples(self) -> Iterator[MarkedText]:
        """The first examples as the model gets them; what it learns is marked."""
        for number in range(min(_SAMPLES, len(self.train.lengths))):
            example = self.train.example(number)
            learned = [label != IGNORED for label in example.labels]
            borders = [n for n in range(1, len(learned)) if learned[n] != learned[n - 1]]
            spans = zip([0, *borders], [*borders, len(learned)], strict=True)
            yield MarkedText((self.tokenizer.decode(example.ids[a:b]), learned[a]) for a, b in spans)

    def prompts(self, asked: Sequence[str] | None) -> list[tuple[str, str]]:
        """What to ask before and after, each as it is shown and as it is given to `generate`."""
        if asked:
            turns = [[{"role": "user", "content": prompt}] for prompt in asked]
            ask = partial(self.tokenizer.apply_chat_template, tokenize=False, add_generation_prompt=True)
            return [(prompt, ask(turn)) for prompt, turn in zip(asked, turns, strict=True)]
        # What comes before an answer; where everything is learned, nothing does.
        rows = self.held_out if self.held_out.lengths else self.train
        examples = map(rows.example, range(min(_SAMPLES, len(rows.lengths))))
        begun = [e.ids[: next(n for n, label in enumerate(e.labels) if label != IGNORED)] for e in examples]
        return [(text, text) for text in map(self.tokenizer.decode, filter(None, begun))]


def read_sft_data(
    model: str,
    data: Any,
    *,
    eval_data: Any = None,
    eval_share: float = 0.05,
    longest: int | None = None,
    over_length: OverLength = "few",
    learn: Learn = "answers",
    packing: bool = True,
    template: str | None = None,
    stop: str | None = None,
) -> SFTData:
    """Read it as `SFT.pre_process` is told to.

    Raises:
        RequestError: Something in it cannot be learned, or is not there.
    """
    tokenizer = load_tokenizer(model, template)
    place = base_of(model)
    longest = row_length(AutoConfig.from_pretrained(place), longest)
    stops = stops_of(tokenizer, model, stop)
    encoder = ChatEncoder(tokenizer, stops, learn)
    reader = ChatReader(encoder, longest, over_length, eval_share if eval_data is None else 0.0)
    train = PackedRows(reader.read(sources_of(data)), longest, apart=not packing)
    held_out = reader.held_out
    if eval_data is not None:
        held_out = list(ChatReader(encoder, longest, over_length).read(sources_of(eval_data)))
    return SFTData(tokenizer, stops, train, PackedRows(held_out, longest, apart=not packing), reader.summary)


def settings_for_reading(params: Mapping[str, Any]) -> dict[str, Any]:
    """Of the parameters of `SFT`, those that `read_sft_data` takes."""
    taken = read_sft_data.__kwdefaults__ or {}
    return {name: value for name, value in params.items() if name in taken}


def row_length(config: Any, asked: int | None) -> int:
    """Tokens of a row: as asked, else as the model can, up to 2,048.

    Raises:
        RequestError: The model cannot take so many.
    """
    limit = int(getattr(config, "max_position_embeddings", None) or _LONGEST)
    if asked is not None and asked > limit:
        raise RequestError(f"params.longest={asked}: the model takes up to {limit:,} tokens")
    return asked or min(limit, _LONGEST)


def stops_of(tokenizer: Any, model: str, asked: str | None) -> list[str]:
    """The texts of the tokens that end an answer: the one asked for, else those of the model."""
    if asked:
        return [asked]
    try:
        generation = GenerationConfig.from_pretrained(base_of(model))
    except OSError:
        # Not every model has one.
        generation = None
    return stop_tokens(tokenizer, generation)
