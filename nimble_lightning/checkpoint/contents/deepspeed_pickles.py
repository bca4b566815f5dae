"""What DeepSpeed unpickles from its checkpoints, held to tensors, plain values and what it knows itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import torch

# Values and plain records, which do nothing when they are made.
_KNOWN = (
    ("deepspeed.runtime.zero.config", "ZeroStageEnum"),
    ("deepspeed.runtime.fp16.loss_scaler", "LossScaler"),
    ("deepspeed.runtime.fp16.loss_scaler", "DynamicLossScaler"),
    ("deepspeed.utils.tensor_fragment", "fragment_address"),
)
# DeepSpeed asks for `weights_only=False`; torch lets this overrule it.
_FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@contextmanager
def weights_only() -> Iterator[None]:
    """In the block whatever is loaded, by anybody, is loaded with `weights_only=True`."""
    known = [getattr(import_module(module), name) for module, name in _KNOWN]
    before = os.environ.get(_FORCED)
    os.environ[_FORCED] = "1"
    try:
        with torch.serialization.safe_globals(known):
            yield
    finally:
        del os.environ[_FORCED]
        if before is not None:
            os.environ[_FORCED] = before
