"""What `train` may return, brought to one form: the mean loss and the number of items it is a mean of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nimble_lightning.errors import TrainerError

IGNORED_LABEL = -100


def loss_and_count(
    output: Any, batch: Any, samples: int, compute_loss: Callable[..., Any] | None
) -> tuple[Tensor, Any]:
    """A loss tensor; `loss, num_items`; or a mapping / model output with `loss` (and `num_items`).

    The count decides how pieces and ranks are weighted: samples by default, tokens where `train` says so or
    where a
    Hugging Face model was given labels with one entry a token.
    """
    if isinstance(output, Tensor) and output.dim() == 0:
        return output, samples
    if compute_loss is not None:
        output = compute_loss(output, batch)
    if isinstance(output, Tensor):
        return (output if output.dim() == 0 else output.mean()), samples
    if isinstance(output, tuple) and len(output) == 2 and isinstance(output[0], Tensor):
        return output
    if isinstance(output, Mapping) and isinstance(output.get("loss"), Tensor):
        count = output.get("num_items")
        return output["loss"], count if count is not None else _label_count(output, batch, samples)
    raise TrainerError(
        f"train returned {type(output).__name__}; expected the loss as a tensor, (loss, num_items), or a "
        "mapping with 'loss'."
    )


def _label_count(output: Mapping[str, Any], batch: Any, samples: int) -> Any:
    """Hugging Face models average over the labels that are not ignored; causal ones do not predict the first
    token."""
    labels = batch.get("labels") if isinstance(batch, Mapping) else None
    if not isinstance(labels, Tensor) or labels.dim() < 2 or labels.dtype != torch.long:
        return samples
    if type(output).__name__.startswith("CausalLM"):
        labels = labels[..., 1:]
    return (labels != IGNORED_LABEL).sum()
