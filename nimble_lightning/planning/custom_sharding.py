"""What a trainer's own configure_model would cut up, noted instead of done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed.fsdp as fsdp
from torch import nn


@dataclass
class Noted:
    """Calls of `fully_shard`: the modules, and the type in which the last wanted them gathered."""

    modules: list[nn.Module] = field(default_factory=list)
    gathered_in: torch.dtype | None = None

    def names(self, root: nn.Module) -> tuple[str, ...]:
        known = {module: name for name, module in root.named_modules()}
        return tuple(known[module] for module in self.modules)


_real = fsdp.fully_shard
_noted: list[Noted] = []


@contextmanager
def sharding_noted() -> Iterator[Noted]:
    """Note calls of `fully_shard` in this block; files that are loaded in it get the one that notes."""
    noted = Noted()
    _noted.append(noted)
    fsdp.fully_shard = _fully_shard
    try:
        yield noted
    finally:
        _noted.remove(noted)
        fsdp.fully_shard = _real


def _fully_shard(module: Any, *args: Any, **kwargs: Any) -> Any:
    if not _noted:
        # A file that was loaded for a plan keeps this one.
        return _real(module, *args, **kwargs)
    noted, policy = _noted[-1], kwargs.get("mp_policy")
    noted.modules += module if isinstance(module, list) else [module]
    noted.gathered_in = None if policy is None else policy.param_dtype
    return module
