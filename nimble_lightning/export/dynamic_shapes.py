"""Which dimensions of a model's inputs vary, and the same samples in other shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nimble_lightning.export.example_inputs import ExampleCall

_MOST_ROWS = 4
_LONGEST = 64
_POSITIONS = ("max_position_embeddings", "n_positions", "max_source_positions")


@dataclass(frozen=True)
class Shapes:
    """How many samples a call holds and, where it is of sequences, how long they are.

    Attributes:
        batch: Dimension 0 of every tensor of this size is the batch.
        length: Dimension 1 of every tensor of this size is the sequence; None where there is none.
        longest: The model takes none longer; None where nothing is said.
    """

    batch: int
    length: int | None = None
    longest: int | None = None

    @classmethod
    def of(cls, model: nn.Module, call: ExampleCall) -> Shapes:
        """Sequences are told by tensors of whole numbers, one row a sample: ids of tokens."""
        batch = next((t.shape[0] for t in call.tensors if t.dim()), 1)
        ids = [t for t in call.tensors if t.dim() == 2 and t.shape[0] == batch and _counts(t)]
        config = getattr(model, "config", None)
        limits = [v for n in _POSITIONS if isinstance(v := getattr(config, n, None), int)]
        length = ids[0].shape[1] if ids and ids[0].shape[1] > 2 else None
        return cls(batch, length, min(limits, default=None) if length else None)

    def varying(self, tensor: Tensor) -> dict[int, str]:
        """The dimensions of a tensor that vary, and what each is called."""
        names = {}
        if tensor.dim() and tensor.shape[0] == self.batch:
            names[0] = "batch"
        if self.length is not None and tensor.dim() > 1 and tensor.shape[1] == self.length:
            names[1] = "length"
        return names

    def take(self, call: ExampleCall, rows: int, length: int | None = None) -> ExampleCall:
        """The call with that many samples, repeated where there are fewer, cut to a length."""
        at_end = self._padded_in_front(call.tensors)

        def cut(tensor: Tensor) -> Tensor:
            dims = self.varying(tensor)
            if 0 in dims:
                tensor = tensor[torch.arange(rows) % self.batch]
            if 1 in dims and length is not None:
                tensor = tensor[:, -length:] if at_end else tensor[:, :length]
            return tensor.clone()

        return call.map(cut)

    def traced(self, call: ExampleCall) -> ExampleCall:
        """Two samples at least: an exporter takes a dimension of one for a constant."""
        return self.take(call, min(max(self.batch, 2), _MOST_ROWS), self._shown_length)

    def others(self, call: ExampleCall, *, lengths: bool = True) -> list[ExampleCall]:
        """The samples in other shapes than the traced: another batch and, if asked, another length."""
        rows, shown = min(max(self.batch, 2), _MOST_ROWS), self._shown_length
        shorter = shown if shown is None or not lengths else max(2, shown // 2)
        return [self.take(call, rows + 1, shorter), self.take(call, 1, shown)]

    @property
    def _shown_length(self) -> int | None:
        return None if self.length is None else min(self.length, _LONGEST)

    def _padded_in_front(self, tensors: Sequence[Tensor]) -> bool:
        """Cut at the other end, such samples would be nothing but padding."""
        masks = [t for t in tensors if t.dim() == 2 and 1 in self.varying(t) and bool((t <= 1).all())]
        return any(bool((mask[:, 0] == 0).any()) for mask in masks)


def _counts(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
