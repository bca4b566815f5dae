"""What `train` may return, brought to one form: the mean loss and the number of items it is a mean of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nimble_lightning.errors import TrainerError

log = logging.getLogger(__name__)

IGNORED_LABEL = -100
# A mean over the same labels in another order is as near as that to the loss of the model.
_NEAR = 1e-5
_FIRST_PIECES = 8


class LabelCount:
    """How many labels the loss that a Hugging Face model returned is a mean over.

    What experts add to balance their load is no mean over anything: it stays that of each piece, which is
    weighed like the rest.

    Args:
        module: What holds the user's models.
    """

    def __init__(self, module: nn.Module | None = None) -> None:
        self._module = module
        self._shifts: dict[type, bool] = {}
        self._counts_seen: set[int] = set()
        self._to_look_at = _FIRST_PIECES

    def __call__(self, output: Mapping[str, Any], batch: Any, samples: int) -> Any:
        labels = token_labels(batch)
        if labels is None or self._is_over_samples:
            return samples
        every, shifted = ((part != self._ignored(labels)).sum() for part in (labels, labels[..., 1:]))
        known = self._shifts.get(type(output))
        if known is None and every != shifted:
            known = self._shifts[type(output)] = self._shifts_labels(output, labels)
        return shifted if known else every

    def smoothed(self, output: Mapping[str, Any], batch: Any, amount: float) -> Tensor:
        """The loss with that much of each label shared out among all, as transformers' LabelSmoother does.

        Raises:
            TrainerError: There is nothing to smooth.
        """
        labels = batch.get("labels") if isinstance(batch, Mapping) else None
        logits = output.get("logits")
        if not isinstance(labels, Tensor) or not isinstance(logits, Tensor) or labels.dtype != torch.long:
            raise TrainerError(
                "model.label_smoothing needs logits and whole-numbered labels. Return the model's whole "
                "output from train, and have 'labels' in the batch."
            )
        if labels.dim() > 1 and self._shifts_labels(output, labels):
            logits, labels = logits[..., :-1, :], labels[..., 1:]
        return cross_entropy(
            logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED_LABEL, label_smoothing=amount
        )

    def not_asked(self, batch: Any) -> None:
        """Say once that a loss alone does not tell what it is a mean over, where that makes a difference."""
        if not self._to_look_at:
            return
        self._to_look_at -= 1
        if (labels := token_labels(batch)) is None:
            return
        self._counts_seen.update((labels != IGNORED_LABEL).flatten(1).sum(1).tolist())
        if len(self._counts_seen) > 1:
            self._to_look_at = 0
            log.warning(
                "train returned the loss alone, so batches and their pieces are weighed by samples, which "
                "have unequal numbers of labels here; return the model's whole output, or (loss, num_items), "
                "to weigh them by labels"
            )

    def _shifts_labels(self, output: Mapping[str, Any], labels: Tensor) -> bool:
        """Whether each token is to predict the next, so that the first label of a text counts for nothing.

        What the loss came to says it: neither the class of the output nor that of the model does for all of
        them. The model is asked where other losses are added to that of the labels.
        """
        logits, loss = output.get("logits"), output["loss"].detach().float()
        if isinstance(logits, Tensor) and labels.dim() == 2 and logits.shape[:-1] == labels.shape:
            off = [
                float((mean - loss).abs() / loss.abs())
                for mean in (_mean(logits[:, :-1], labels[:, 1:]), _mean(logits, labels))
            ]
            if min(off) < _NEAR and off[0] != off[1]:
                return off[0] < off[1]
        return any(
            getattr(model.loss_function, "__name__", None) == "ForCausalLMLoss"
            and not getattr(model.config, "is_encoder_decoder", False)
            for model in self._models
        )

    @cached_property
    def _models(self) -> list[Any]:
        return [] if self._module is None else list(_hugging_face_models(self._module))

    @cached_property
    def _is_over_samples(self) -> bool:
        """A sequence whose labels are not aligned with it has one loss, however long it is."""
        unaligned = [model for model in self._models if model.loss_type == "ForCTC"]
        for model in unaligned:
            if model.config.ctc_loss_reduction != "mean":
                raise TrainerError(
                    f"{type(model).__name__} adds up the losses of a batch, so those of a piece and of the "
                    'whole differ. Set self.model.config.ctc_loss_reduction = "mean" in pre_process.'
                )
        return bool(unaligned)

    def _ignored(self, labels: Tensor) -> int:
        if labels.dim() > 2:
            for model in self._models:
                return int(getattr(model.config, "semantic_loss_ignore_index", IGNORED_LABEL))
        return IGNORED_LABEL


def loss_and_count(
    output: Any,
    batch: Any,
    samples: int,
    compute_loss: Callable[..., Any] | None,
    label_count: LabelCount,
    smoothing: float = 0.0,
) -> tuple[Tensor, Any]:
    """A loss tensor; `loss, num_items`; or a mapping / model output with `loss` (and `num_items`).

    The count decides how pieces and ranks are weighted: samples by default, tokens where `train` says so or
    where a Hugging Face model was given labels with one entry a token.
    """
    if smoothing and not (isinstance(output, Mapping) and isinstance(output.get("loss"), Tensor)):
        raise TrainerError(
            "model.label_smoothing needs the model's whole output. Return self.model(**batch) from train."
        )
    if isinstance(output, Tensor) and output.dim() == 0:
        label_count.not_asked(batch)
        return output, samples
    if compute_loss is not None:
        output = compute_loss(output, batch)
    if isinstance(output, Tensor):
        return (output if output.dim() == 0 else output.mean()), samples
    if isinstance(output, tuple) and len(output) == 2 and isinstance(output[0], Tensor):
        if not isinstance(output[1], int | float) and getattr(output[1], "shape", None) != ():
            raise TrainerError(
                f"train returned the loss and a {type(output[1]).__name__}; expected the loss alone, or "
                "(loss, num_items), where the second is a number."
            )
        return output
    if isinstance(output, Mapping) and isinstance(output.get("loss"), Tensor):
        count = output.get("num_items")
        count = count if count is not None else label_count(output, batch, samples)
        loss = label_count.smoothed(output, batch, smoothing) if smoothing else output["loss"]
        return loss, count
    raise TrainerError(
        f"train returned {type(output).__name__}; expected the loss as a tensor, (loss, num_items), or a "
        "mapping with 'loss'."
    )


def token_labels(batch: Any) -> Tensor | None:
    """Labels of which a sample has many, where a batch names them as Hugging Face models do."""
    labels = batch.get("labels") if isinstance(batch, Mapping) else None
    many = isinstance(labels, Tensor) and labels.dim() > 1 and labels.dtype == torch.long
    return labels if many else None


def _hugging_face_models(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost ones: what is within them is no model of its own."""
    if hasattr(module, "loss_type") and hasattr(module, "config"):
        yield module
    else:
        for child in module.children():
            yield from _hugging_face_models(child)


def _mean(logits: Tensor, labels: Tensor) -> Tensor:
    """Text by text, as the logits of a batch in full precision may not fit a second time."""
    logits = logits.detach()
    losses = [
        cross_entropy(of_one.float(), labels_of_one, ignore_index=IGNORED_LABEL, reduction="sum")
        for of_one, labels_of_one in zip(logits, labels, strict=True)
    ]
    return torch.stack(losses).sum() / (labels != IGNORED_LABEL).sum()
