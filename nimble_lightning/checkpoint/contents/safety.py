"""What a checkpoint may hold, and what it has to agree with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nimble_lightning.checkpoint.manifest import Manifest
from nimble_lightning.checkpoint.position import RunFacts
from nimble_lightning.errors import CheckpointError


def refuse_unsafe(file: str | os.PathLike[str]) -> None:
    """Raise if something in a file just saved could not be loaded again."""
    unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    if unsafe:
        raise CheckpointError(
            f"The checkpoint holds {', '.join(sorted(unsafe))}, which weights_only=True refuses to load; "
            "keep plain values and tensors in the state and in `save_hyperparameters`."
        )


def refuse_code(weights_only: bool | None) -> None:
    """Raise if a load that may run code is asked for."""
    if weights_only is False:
        raise CheckpointError("`weights_only=False` would run code from the checkpoint; leave it out.")


def check_step(checkpoint: Mapping[str, Any], manifest: Manifest, path: Path) -> None:
    """Raise if a checkpoint is of another step than its manifest says."""
    step = RunFacts.of(checkpoint).step
    if step != manifest.step:
        text = f"Checkpoint {path} holds step {step}, its manifest says {manifest.step}; take an earlier one."
        raise CheckpointError(text)
