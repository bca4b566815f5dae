"""What is done before preferences are learned: the model is looked at, the data is read and divided."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from nimble_lightning.errors import RequestError
from nimble_lightning.llm import causal_lm
from nimble_lightning.llm.chat_data import falls_on
from nimble_lightning.llm.chat_masks import ChatEncoder
from nimble_lightning.llm.conversations import sources_of
from nimble_lightning.llm.isolation import has_plain_head, require_isolation
from nimble_lightning.llm.sft_data import row_length, stops_of

T = TypeVar("T")


@dataclass(frozen=True)
class UntrainedPolicy:
    """A model that can be taught preferences, and how texts are encoded for it.

    Attributes:
        tokenizer: Of the model.
        model: As it is before training, in evaluation.
        encoder: Of conversations, of which the last answer is what counts.
        room: Tokens of a row.
    """

    tokenizer: Any
    model: nn.Module
    encoder: ChatEncoder
    room: int


def load_policy(
    name: str, longest: int | None, template: str | None, stop: str | None, task: str
) -> UntrainedPolicy:
    """Load a model and show that texts which share a row are apart.

    Raises:
        RequestError: It is not there, or computes its logits in a way that cannot be followed.
    """
    tokenizer = causal_lm.load_tokenizer(name, template)
    whole = causal_lm.load_model(name).eval()
    causal_lm.require_embeddings(whole, tokenizer)
    require_isolation(whole)
    if not has_plain_head(whole):
        raise RequestError(
            f"{type(whole).__name__} changes its logits after its last layer, which {task} cannot do yet"
        )
    encoder = ChatEncoder(tokenizer, stops_of(tokenizer, name, stop), "last_answer")
    return UntrainedPolicy(tokenizer, whole, encoder, row_length(whole.config, longest))


def divided(
    data: Any, eval_data: Any, eval_share: float, read: Callable[[Path], Iterator[T]], what: str
) -> tuple[list[T], list[T]]:
    """What is trained on, and what is evaluated on.

    Args:
        data: A file, a folder, or a list of {path}.
        eval_data: The same, or None.
        eval_share: How many are kept to evaluate on, where there is none.
        read: Reads a file.
        what: A word for many of them.

    Raises:
        RequestError: There are none.
    """
    found = _read(data, read, what)
    if eval_data is None:
        held_out = [each for n, each in enumerate(found) if falls_on(n, eval_share)]
        found = [each for n, each in enumerate(found) if not falls_on(n, eval_share)]
    else:
        held_out = _read(eval_data, read, what)
    if not found:
        raise RequestError(f"the data holds no {what} to learn from")
    return found, held_out


def _read(data: Any, read: Callable[[Path], Iterator[T]], what: str) -> list[T]:
    sources = sources_of(data)
    if weighed := next((source for source in sources if source.weight != 1), None):
        raise RequestError(f"data: {weighed.path} has a weight; {what} are all taken once")
    return [each for source in sources for each in read(source.path)]
