"""What torch unpickles from a sharded checkpoint, looked at beforehand; what DeepSpeed unpickles, limited.

Torch reads tensors of such folders safely, but their index, and values that are no tensors, as whoever wrote
them wants. Digests keep out damage; this keeps out code, also from one who wrote a manifest to go with it.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata

from nimble_lightning.checkpoint.integrity import NOT_LOADED, not_loaded
from nimble_lightning.errors import CheckpointError
from nimble_lightning.ops.plain_files import open_plain

INDEX = ".metadata"

_METADATA = "torch.distributed.checkpoint.metadata"
_KNOWN = {
    *((_METADATA, name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties")),
    *((_METADATA, f"{kind}StorageMetadata") for kind in ("Bytes", "Chunk", "Tensor")),
    (_METADATA, "_MEM_FORMAT_ENCODING"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    ("collections", "OrderedDict"),
    *((module, "PosixPath") for module in ("pathlib", "pathlib._local")),
}


# Values and plain records, which do nothing when they are made.
_DEEPSPEED_KNOWN = (
    ("deepspeed.runtime.zero.config", "ZeroStageEnum"),
    ("deepspeed.runtime.fp16.loss_scaler", "LossScaler"),
    ("deepspeed.runtime.fp16.loss_scaler", "DynamicLossScaler"),
    ("deepspeed.utils.tensor_fragment", "fragment_address"),
)
# DeepSpeed asks for `weights_only=False`; torch lets this overrule it.
_FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def refuse_pickled_code(folder: Path, files: Iterable[str]) -> None:
    """Raise if loading the sharded checkpoint ``folder``, which consists of ``files``, could run code."""
    if INDEX not in files:
        raise CheckpointError(f"Checkpoint {folder} has no {INDEX}, so torch did not write it.")
    try:
        index = _read_index(folder / INDEX)
        for key, place in index.storage_data.items():
            if isinstance(index.state_dict_metadata[key.fqn], BytesStorageMetadata):
                _read_value(folder, key.fqn, place, set(files))
    except NOT_LOADED as error:
        raise not_loaded(folder, error) from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or (module, name) in _KNOWN:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"its index refers to {module}.{name}")


def _read_index(path: Path) -> Metadata:
    with open_plain(path) as file:
        index = _Unpickler(file).load()
    if not isinstance(index, Metadata):
        raise pickle.UnpicklingError(f"its index is a {type(index).__name__}")
    return index


def _read_value(folder: Path, name: str, place: Any, files: set[str]) -> None:
    if place.relative_path not in files or place.transform_descriptors:
        raise pickle.UnpicklingError(f"its index looks for {name} in {place.relative_path}")
    with open_plain(folder / place.relative_path) as file:
        file.seek(place.offset)
        torch.load(io.BytesIO(file.read(place.length)), weights_only=True)


@contextmanager
def weights_only() -> Iterator[None]:
    """In the block whatever is loaded, by anybody, is loaded with `weights_only=True`."""
    known = [getattr(import_module(module), name) for module, name in _DEEPSPEED_KNOWN]
    before = os.environ.get(_FORCED)
    os.environ[_FORCED] = "1"
    try:
        with torch.serialization.safe_globals(known):
            yield
    finally:
        del os.environ[_FORCED]
        if before is not None:
            os.environ[_FORCED] = before
