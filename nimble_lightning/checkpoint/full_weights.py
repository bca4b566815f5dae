"""The weights of a checkpoint in one place, also of one whose pieces several ranks wrote."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict

from nimble_lightning.checkpoint.contents.pickle_check import refuse_pickled_code
from nimble_lightning.checkpoint.integrity import verify
from nimble_lightning.checkpoint.io import NimbleCheckpointIO

# Where FSDP's and the model-parallel strategy put them.
_NAMES = ("model", "state_dict")


def weights_of(path: str | os.PathLike[str]) -> Mapping[str, Tensor]:
    """All weights of a checkpoint that was found whole, in this machine's memory."""
    path = Path(os.path.abspath(path))
    if not path.is_dir():
        checkpoint = NimbleCheckpointIO().load_checkpoint(path, map_location="cpu", weights_only=True)
        weights: Mapping[str, Tensor] = checkpoint["state_dict"]
        return weights
    refuse_pickled_code(path, verify(path).files)
    state: dict[str, Any] = {}
    planner = _EmptyStateDictLoadPlanner(keys=set(_NAMES))
    _load_state_dict(state, storage_reader=FileSystemReader(path), planner=planner, no_dist=True)
    return next(state[name] for name in _NAMES if name in state)
