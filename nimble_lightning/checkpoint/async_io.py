"""Saving while training goes on: from a copy on the CPU that training can no longer change."""

from __future__ import annotations

import copy
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from typing_extensions import override

from nimble_lightning.checkpoint.io import NimbleCheckpointIO, local
from nimble_lightning.checkpoint.position import RunFacts
from nimble_lightning.checkpoint.retention import retire
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.lightning_packages import serves_both

_Key = tuple[object, ...]


@serves_both
class AsyncNimbleCheckpointIO(CheckpointIO):
    """Copies the state, lets training go on, and commits the copy in a thread.

    One save is under way at a time; the next waits for it. An error of a save is raised by the next ``poll``,
    ``save_checkpoint`` or ``teardown``, once; a save that raises an earlier one's error has not been started.
    Removals wait for the saves before them. The copy takes as much host memory as the checkpoint and is kept.

    Args:
        checkpoint_io: What commits and loads.

    Example::

        Trainer(plugins=[AsyncNimbleCheckpointIO()])
    """

    def __init__(self, checkpoint_io: NimbleCheckpointIO | None = None) -> None:
        self.checkpoint_io = checkpoint_io or NimbleCheckpointIO()
        self._snapshots = Snapshots()
        self._executor: ThreadPoolExecutor | None = None
        self._saving: Future[None] | None = None
        self._error: BaseException | None = None
        self._last_failed = False

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        if storage_options is not None:
            raise RequestError(f"`storage_options={storage_options!r}` is not for local files; leave it out.")
        self.wait()
        self.poll()
        facts = RunFacts.of(checkpoint)
        trained = self.checkpoint_io.without_frozen(checkpoint, local(path))
        self._saving = self._submit(self._commit, self._snapshots.take(trained), local(path), facts)

    @override
    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        self.wait()
        return self.checkpoint_io.load_checkpoint(path, map_location, weights_only)

    @override
    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        self._submit(self._remove, local(path))

    @override
    def teardown(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None
        self._saving = None
        self.poll()

    def poll(self) -> None:
        """Raise the error of a finished save; meant to be called every step."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Return when the save under way, if any, has ended."""
        if self._saving is not None:
            self._saving.result()
            self._saving = None

    def _submit(self, function: Any, *arguments: Any) -> Future[None]:
        # Made when needed: Lightning tears the plugin down after each fit and may use it again.
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        return self._executor.submit(function, *arguments)

    def _commit(self, checkpoint: dict[str, Any], path: Path, facts: RunFacts) -> None:
        self._last_failed = True
        try:
            self.checkpoint_io.commit(checkpoint, path, facts)
        except BaseException as error:
            self._error = error
        else:
            self._last_failed = False

    def _remove(self, path: Path) -> None:
        try:
            if self._last_failed and path.exists():
                # What was to replace it has not been committed.
                retire(path)
            else:
                self.checkpoint_io.remove_checkpoint(path)
        except OSError as error:
            self._error = self._error or error


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
