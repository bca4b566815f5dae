"""From a conversation to tokens and to which of them are learned, whatever its chat template.

The template is asked for the text before an answer, as `generate` would be given it, and for the text with
the answer. What the second has more is what the model has to write, and it ends with the first token at which
`generate` stops. No markers in the template, no names of its headers: both texts are its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from nimble_lightning.errors import NimbleError
from nimble_lightning.llm.packing import IGNORED, Example

Learn = Literal["answers", "last_answer", "everything"]
Message = Mapping[str, Any]


class BadConversation(NimbleError):
    """Nothing can be learned from a conversation, or not what it looks like."""


@dataclass(frozen=True)
class Answer:
    """One answer, in the text that ends with it.

    Attributes:
        text: What the template writes up to and with the answer.
        begin: Where the model begins to write.
        end: Where it stops: behind the first token that `generate` stops at.
    """

    text: str
    begin: int
    end: int


@dataclass
class ChatEncoder:
    """Encodes conversations for one tokenizer.

    Attributes:
        tokenizer: A fast tokenizer of transformers, with a chat template.
        stop: The texts of the tokens that end an answer; none: that of the end of a sequence.
        learn: Which of what is said.
    """

    tokenizer: Any
    stop: Sequence[str] = ()
    learn: Learn = "answers"
    rewrites: int = field(default=0, init=False)
    """How many conversations became several examples, as the template rewrites their earlier turns."""

    def __call__(self, messages: Sequence[Message], tools: Sequence[Any] | None = None) -> list[Example]:
        """One example, or one for each answer where the template writes earlier turns differently."""
        found = [
            self._answer(messages, number, tools)
            for number, message in enumerate(messages)
            if message["role"] == "assistant"
        ]
        if not found:
            raise BadConversation("nobody answers in it: there is no turn of the assistant to learn")
        if self.learn == "last_answer":
            found = found[-1:]
        whole = found[-1].text if messages[-1]["role"] == "assistant" else self._text(messages, tools)
        if self.learn == "everything":
            return [self._example(whole, [(0, len(whole))])]
        if all(whole.startswith(answer.text[: answer.end]) for answer in found):
            return [self._example(whole, [(answer.begin, answer.end) for answer in found])]
        self.rewrites += 1
        return [self._example(answer.text, [(answer.begin, answer.end)]) for answer in found]

    @cached_property
    def stops(self) -> tuple[str, ...]:
        """The texts of the tokens that end an answer."""
        found = tuple(self.stop) or tuple(filter(None, [self.tokenizer.eos_token]))
        if not found:
            raise BadConversation("the tokenizer has no token that ends an answer; give params.stop=TOKEN")
        return found

    def _answer(self, messages: Sequence[Message], number: int, tools: Sequence[Any] | None) -> Answer:
        before = self._text(messages[:number], tools, ask=True)
        text = self._text(messages[: number + 1], tools)
        turn = f"turn {number + 1}"
        if not text.startswith(before):
            raise BadConversation(
                f"{turn}: the template asks for an answer with {_tail(before, text)} and then writes it "
                "differently, so the model would learn another text than it is asked for"
            )
        end = min((at + len(s) for s in self.stops if (at := text.find(s, len(before))) >= 0), default=-1)
        if end < 0:
            raise BadConversation(
                f"{turn}: the template ends the answer with {text[len(before) :][-12:]!r} and not with "
                f"{' or '.join(self.stops)}, so the model would never learn to stop; give params.stop=TOKEN"
            )
        self._require_whole(messages[number], text[len(before) : end], turn)
        return Answer(text, len(before), end)

    def _require_whole(self, message: Message, written: str, turn: str) -> None:
        said = [str(message.get("content") or "").strip()]
        for call in message.get("tool_calls") or ():
            said.append(str(call.get("function", call).get("name", "")))
        lost = next((part for part in said if part not in written), None)
        if lost is None:
            return
        stop = next((stop for stop in self.stops if stop in lost), None)
        if stop is not None:
            raise BadConversation(f"{turn}: {stop} is in the answer, which would end there")
        raise BadConversation(f"{turn}: the template leaves out, or changes, {_short(lost)}")

    def _text(self, messages: Sequence[Message], tools: Sequence[Any] | None, *, ask: bool = False) -> str:
        if self.tokenizer.chat_template is None:
            raise BadConversation(
                f"{self.tokenizer.name_or_path or 'the tokenizer'} has no chat template: it is a base model; "
                "take its instruct variant, or give params.template=FILE.jinja"
            )
        try:
            text: str = self.tokenizer.apply_chat_template(
                list(messages), tools=tools, tokenize=False, add_generation_prompt=ask
            )
        except Exception as error:  # a template may raise anything, in its own words
            raise BadConversation(f"the template refuses it: {error}") from None
        return text

    def _example(self, text: str, spans: Sequence[tuple[int, int]]) -> Example:
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = list(found["input_ids"]), found["offset_mapping"]
        bos = self.tokenizer.bos_token_id
        if bos is not None and ids[:2] == [bos, bos] and bos != self.tokenizer.eos_token_id:
            raise BadConversation(f"it begins with {self.tokenizer.bos_token} twice")
        labels = [IGNORED] * len(ids)
        left, at = list(reversed(spans)), 0
        while left:
            begin, end = left.pop()
            while at < len(ids) and offsets[at][1] <= begin:
                at += 1
            while at < len(ids) and offsets[at][0] < end:
                if offsets[at][0] < begin or offsets[at][1] > end:
                    raise BadConversation(
                        f"the token {text[slice(*offsets[at])]!r} is partly of what is asked and partly of "
                        "the answer, so the model would learn other tokens than it is asked with"
                    )
                labels[at] = ids[at]
                at += 1
        return Example(ids, labels)


def stop_tokens(tokenizer: Any, generation_config: Any = None) -> list[str]:
    """The texts of the tokens at which `generate` stops, by the tokenizer and the model's own settings."""
    ids = getattr(generation_config, "eos_token_id", None)
    found = [tokenizer.eos_token_id, *(ids if isinstance(ids, list | tuple) else [ids])]
    known = dict.fromkeys(number for number in found if number is not None)
    return [str(tokenizer.convert_ids_to_tokens(number)) for number in known]


def _tail(before: str, text: str) -> str:
    same = next((n for n, (a, b) in enumerate(zip(before, text, strict=False)) if a != b), len(text))
    return repr(before[same:][:40])


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
