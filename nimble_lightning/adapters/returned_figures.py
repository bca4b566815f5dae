"""What `evaluate` and `compute_metrics` returned, as figures by name."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from nimble_lightning.adapters.losses import LabelCount, loss_and_count
from nimble_lightning.errors import TrainerError
from nimble_lightning.ops.metric_values import number

log = logging.getLogger(__name__)

# What a model returns besides its loss, where somebody made a plain dict of it.
_OF_A_MODEL = ("loss", "logits", "labels", "hidden_states", "attentions", "past_key_values")
# Of the row that a figure is logged in.
_TAKEN = ("epoch", "step")


def parts_of(
    output: Any, batch: Any, samples: int, label_count: LabelCount
) -> Iterator[tuple[Any, float | None]]:
    """Take what `evaluate` returned, and how many items its means are over.

    Items are the samples, unless the model computes its own loss: then they are tokens.
    """
    if not is_model_output(output):
        yield output, None
        return
    if output.get("loss") is None:
        raise TrainerError(
            f"evaluate returned a {type(output).__name__} without a loss: give the model labels, or return "
            "metrics by name."
        )
    loss, items = loss_and_count(output, batch, samples, None, label_count)
    yield {"loss": loss}, float(items)
    models = getattr(type(output), "__dataclass_fields__", _OF_A_MODEL)
    yield {name: value for name, value in output.items() if name not in models}, None


def named(returned: Any) -> dict[str, Any]:
    """Figures by name; one in a mapping of its own has a name such as `a/b`."""
    if returned is None:
        return {}
    if isinstance(returned, Metric | MetricCollection):
        return {type(returned).__name__.lower(): returned}
    if isinstance(returned, Tensor | float | int):
        say_once("evaluate returned a figure without a name: it is taken for the loss")
        return {"loss": returned}
    if not isinstance(returned, Mapping):
        raise TrainerError(
            f"evaluate returned {type(returned).__name__}; expected metrics by name, such as "
            "{'accuracy': ...}."
        )
    found: dict[str, Any] = {}
    for name, value in returned.items():
        inner = named(value) if isinstance(value, Mapping) else None
        found.update({name: value} if inner is None else {f"{name}/{n}": v for n, v in inner.items()})
    if taken := next((name for name in _TAKEN if name in found), None):
        raise TrainerError(f"evaluate returned a figure called {taken!r}, as every row has; rename it.")
    return found


def plain(returned: Any) -> dict[str, float]:
    """What `compute_metrics` returned as numbers by name."""
    if not isinstance(returned, Mapping):
        raise TrainerError(
            f"compute_metrics returned {type(returned).__name__}; expected figures by name, such as "
            "{'f1': 0.9}."
        )
    return {n: v for name, value in named(returned).items() for n, v in flat(name, value).items()}


def as_tensor(name: str, value: Any) -> Tensor:
    """The numbers of a figure; those of Python as exact as they are."""
    number_of_python = isinstance(value, int | float | list | tuple)
    try:
        tensor = torch.as_tensor(value, dtype=torch.float64 if number_of_python else None).detach()
    except (TypeError, ValueError, RuntimeError):
        tensor = None
    if tensor is None or tensor.is_complex():
        kind = f"the class {value.__name__}" if inspect.isclass(value) else f"a {type(value).__name__}"
        kind = "complex numbers" if tensor is not None else kind
        raise TrainerError(
            f"The figure {name!r} is {kind}; expected a value per sample, the mean over the batch, or a "
            "torchmetrics object."
        )
    if number_of_python and not tensor.dim() and torch.equal(tensor.float().double(), tensor):
        # What `float(tensor)` and `tensor.item()` made of a float32.
        return tensor.float()
    return tensor


def is_model_output(values: Any) -> bool:
    """Whether it is what a model of Hugging Face's returned, or a dict made of that."""
    if not isinstance(values, Mapping):
        return False
    return hasattr(type(values), "__dataclass_fields__") or ("logits" in values and "loss" in values)


def flat(name: str, value: Any) -> dict[str, float]:
    """A figure as numbers by name; of several in one each has a name of its own."""
    if isinstance(value, Mapping):
        return {n: v for key, inner in value.items() for n, v in flat(str(key), inner).items()}
    tensor = as_tensor(name, value)
    if tensor.numel() == 1:
        return {name: number(tensor)}
    return {f"{name}_{i}": number(v) for i, v in enumerate(tensor.flatten())}


@cache
def say_once(words: str) -> None:
    """Warn of something, once in a process."""
    log.warning(words)
