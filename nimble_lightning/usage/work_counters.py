"""What a process has done: batches, samples, tokens, operations."""

from __future__ import annotations

from typing import Any

import torch

from nimble_lightning.ops.batches import size_of
from nimble_lightning.usage.flops import FlopCounter, countable
from nimble_lightning.usage.rank_record import RankRecord
from nimble_lightning.usage.tokens import Tokens

# Forward and backward pass of a transformer, for each parameter and token.
_A_TOKEN = 6


class WorkCounters:
    """Counts in the training thread; `tell` may be called from another.

    Args:
        measure: Whether to count the operations of the first batch.

    Attributes:
        first_step: Optimizer steps done when this process began to train; None before.
        counter: Counts operations while the first batch is trained.
    """

    def __init__(self, measure: bool) -> None:
        self.first_step: int | None = None
        self.counter: FlopCounter | None = None
        self._measure = measure
        self._batches = 0
        self._samples = 0
        self._total: int | None = None
        self._tokens: Tokens | None = None
        self._parameters = 0
        self._flops: float | None = None
        self._note = "not asked for" if not measure else "no batch was trained"
        # Set by whoever tells, so that one batch in a while is looked at more closely.
        self._look = True

    def begin(self, module: torch.nn.Module, step: int, left: int | None) -> None:
        """Training starts, with so many batches to come."""
        if self.first_step is None:
            self.first_step = step
        self._total = None if left is None else self._batches + left
        self._parameters = sum(p.numel() for p in module.parameters() if p.requires_grad)
        if self._measure and self._flops is None:
            if countable(module):
                self.counter = FlopCounter()
            else:
                self._note = "the model is compiled, so its operations cannot be counted"

    def add(self, batch: Any) -> None:
        """A batch has been trained."""
        self._batches += 1
        self._samples += _samples(batch)
        if self._look:
            self._look_at(batch)
        elif self._tokens is not None and Tokens.are_in(batch):
            self._tokens.add(batch)

    def counted(self, batch: Any) -> None:
        """Counting is over, with this batch or, cut short, with none."""
        if self.counter is None:
            return
        total, self.counter = self.counter.total, None
        if batch is None or not total:
            self._note = "no operation with a known count was seen"
            return
        samples = max(size_of(batch), 1)
        self._flops = total / samples
        self._note = f"counted on a batch of {samples}, all that is done twice included; scaled by samples"

    def tell(self, piece: RankRecord) -> None:
        """Bring a piece up to date; may wait for the device, for a few numbers."""
        piece.samples, piece.done, piece.total = self._samples, self._batches, self._total
        if self._tokens is not None:
            piece.tokens, piece.tokens_kind, piece.tokens_note = self._tokens.read()
        piece.flops, piece.flops_note = self._operations(piece)
        self._look = True

    def _look_at(self, batch: Any) -> None:
        self._look = False
        if Tokens.are_in(batch):
            self._tokens = self._tokens or Tokens()
            self._tokens.add(batch)
            self._tokens.look_at(batch)

    def _operations(self, piece: RankRecord) -> tuple[float | None, str]:
        tokens = piece.tokens
        if self._flops is not None:
            return self._flops * self._samples, self._note
        if self._measure and tokens and self._parameters and self._batches:
            flops = _A_TOKEN * self._parameters * tokens / piece.sharing
            return flops, f"{_A_TOKEN} x parameters x tokens; {self._note}"
        return None, self._note


def _samples(batch: Any) -> int:
    """As `size_of`, which takes several times as long, for the batches that most loaders make."""
    kind = type(batch)
    first = batch[0] if (kind is tuple or kind is list) and batch else batch
    if kind is dict:
        first = next(iter(batch.values()), None)
    return first.shape[0] if type(first) is torch.Tensor and first.ndim else size_of(batch)
