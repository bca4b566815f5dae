"""What the Hugging Face Trainer does to data without being asked: padding, and columns that nobody takes."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import Any

from torch import nn
from torch.utils.data import default_collate

from nimble_lightning.adapters.user_trainer import UserTrainer
from nimble_lightning.data.fetch import collate_rows
from nimble_lightning.data.source import is_hugging_face

log = logging.getLogger(__name__)

_LABELS = ("label", "label_ids", "labels", "start_positions", "end_positions")
# What a batch is made from, rather than of.
_MEASURES = ("length",)
_BASES = ("PreTrainedTokenizerBase", "SequenceFeatureExtractor")


def padding_collate(user: UserTrainer) -> Callable[[list[Any]], Any] | None:
    """Pads with the trainer's `processing_class` or `tokenizer`; None where it has none that pads."""
    named = {name: user.get(name) for name in ("processing_class", "tokenizer")}
    return next((Padding(name, found) for name, found in named.items() if _pads(found)), None)


class Padding:
    """Rows of unequal length as a batch; other rows as they are usually put together.

    Args:
        name: Of the trainer's attribute.
        tokenizer: Which pads, as `DataCollatorWithPadding` does.
    """

    def __init__(self, name: str, tokenizer: Any) -> None:
        self._name = name
        self._tokenizer = tokenizer
        self._told = False

    def __call__(self, rows: list[Any]) -> Any:
        if not isinstance(rows[0], Mapping):
            return default_collate(rows)
        if self._tokenizer.model_input_names[0] not in rows[0]:
            return collate_rows(rows)
        from transformers import DataCollatorForSeq2Seq, DataCollatorWithPadding

        many = isinstance(rows[0].get("labels"), list)
        collator = (DataCollatorForSeq2Seq if many else DataCollatorWithPadding)(self._tokenizer)
        if not self._told:
            self._told = True
            log.info("batches are padded by self.%s; a method collate would take its place", self._name)
        return dict(collator(rows))


def without_unused(source: Any, user: UserTrainer) -> Any:
    """A Hugging Face dataset without the columns that neither the model takes nor the trainer names."""
    if not any(is_hugging_face(source, kind) for kind in ("Dataset", "IterableDataset")):
        return source
    models = list(user.modules().values())
    if not source.column_names or not models or not all(map(_is_hugging_face_model, models)):
        return source
    taken = {name for model in models for name in _forward(model)} | {*_LABELS, *_MEASURES} | _named_by(user)
    unused = [name for name in source.column_names if name not in taken]
    if not unused or len(unused) == len(source.column_names):
        return source
    log.info(
        "columns left out, which %s.forward does not take: %s; data.remove_unused_columns=false keeps them",
        type(models[0]).__name__, ", ".join(unused),
    )  # fmt: skip
    return source.remove_columns(unused)


def _pads(found: Any) -> bool:
    return any(
        kind.__name__ in _BASES and kind.__module__.startswith("transformers.")
        for kind in type(found).__mro__
    )


def _is_hugging_face_model(model: nn.Module) -> bool:
    return hasattr(model, "main_input_name") and hasattr(model, "config")


def _forward(model: nn.Module) -> Iterator[str]:
    yield from inspect.signature(model.forward).parameters


def _named_by(user: UserTrainer) -> set[str]:
    """Every text that stands by itself in the trainer's methods: a name of a column may be one of them."""
    methods = [
        method.__code__
        for kind in type(user.object).__mro__
        for name, method in vars(kind).items()
        if inspect.isfunction(method) and name != "pre_process"
    ]
    given = [value.__code__ for value in vars(user.object).values() if inspect.isfunction(value)]
    return {text for code in (*methods, *given) for text in _texts(code)}


def _texts(code: CodeType) -> Iterator[str]:
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple):
            yield from (text for text in constant if isinstance(text, str))
        elif isinstance(constant, CodeType):
            yield from _texts(constant)
