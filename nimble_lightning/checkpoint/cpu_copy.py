"""A copy of a checkpoint on the CPU that training can no longer change."""

from __future__ import annotations

import copy
from typing import Any

import torch

_Key = tuple[object, ...]


class Snapshots:
    """Takes copies one after another into the same memory: a fresh page costs more than the copy itself.

    The last copy is overwritten by the next; its user has to be finished with it.
    """

    def __init__(self) -> None:
        self._buffers: list[torch.Tensor] = []

    def take(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """Copy tensors and containers; tensors that share memory as one still do so in the copy."""
        buffers, self._buffers = self._buffers, []
        return _Copier(buffers, self._buffers).copy(checkpoint)  # type: ignore[no-any-return]


class _Copier:
    def __init__(self, old: list[torch.Tensor], new: list[torch.Tensor]) -> None:
        self._old = iter(old)
        self._new = new
        self._copied: dict[_Key, torch.Tensor] = {}

    def copy(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._tensor(value.detach())
        if isinstance(value, dict):
            # Keeps the type and its attributes, such as the `_metadata` of a module's state.
            twin = copy.copy(value)
            twin.update((key, self.copy(item)) for key, item in value.items())
            return twin
        if type(value) in (list, tuple):
            return type(value)(self.copy(item) for item in value)
        return copy.deepcopy(value)

    def _tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout != torch.strided:
            return tensor.cpu().clone()
        storage = tensor.untyped_storage()
        key = (storage.data_ptr(), tensor.storage_offset(), tensor.size(), tensor.stride(), tensor.dtype)
        if key not in self._copied:
            self._copied[key] = self._buffer(tensor).copy_(tensor)
            self._new.append(self._copied[key])
        return self._copied[key]

    def _buffer(self, tensor: torch.Tensor) -> torch.Tensor:
        old = next(self._old, None)
        if old is not None and (old.size(), old.dtype) == (tensor.size(), tensor.dtype):
            return old
        return torch.empty_like(tensor, device="cpu", memory_format=torch.contiguous_format)
