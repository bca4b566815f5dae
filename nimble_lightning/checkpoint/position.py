"""Where in a run a checkpoint stands, read from the checkpoint itself, and the manifest that says so."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nimble_lightning.checkpoint.manifest import FileRecord, Manifest
from nimble_lightning.errors import CheckpointError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What the manifest says about the run.

    Args:
        step: Optimizer steps done.
        epoch: Epochs begun, counted from 0.
        samples: Training samples consumed by all ranks, where the run counts them.
        run_id: The run it belongs to, if it belongs to one.
        attempt: Which attempt of the run wrote it.
        device: Type of the device that held the weights.
    """

    step: int = 0
    epoch: int = 0
    samples: int | None = None
    run_id: str | None = None
    attempt: int | None = None
    device: str = "cpu"

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> RunFacts:
        """Read them from Lightning's keys and from our own, ``checkpoint["nimble"]``."""
        own = checkpoint.get("nimble", {})
        weights = checkpoint.get("state_dict", {}).values()
        devices = (weight.device.type for weight in weights if hasattr(weight, "device"))
        return cls(
            step=checkpoint.get("global_step", 0),
            epoch=checkpoint.get("epoch", 0),
            samples=own.get("samples"),
            run_id=own.get("run_id"),
            attempt=own.get("attempt"),
            device=next(devices, "cpu"),
        )


def describe(name: str, files: Mapping[str, FileRecord], facts: RunFacts, parent: str | None) -> Manifest:
    """The manifest of the checkpoint ``name``; ``parent`` is the digest of the manifest before it."""
    return Manifest(
        name=name,
        files=files,
        parent=parent,
        versions=_versions(),
        threads=torch.get_num_threads(),
        created=time.time(),
        **asdict(facts),
    )


@cache
def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "lightning": version("lightning"),
        "nimble_lightning": version("nimble-lightning"),
    }


def check_step(checkpoint: Mapping[str, Any], manifest: Manifest, path: Path) -> None:
    """Raise if a checkpoint is of another step than its manifest says."""
    step = RunFacts.of(checkpoint).step
    if step != manifest.step:
        text = f"Checkpoint {path} holds step {step}, its manifest says {manifest.step}; take an earlier one."
        raise CheckpointError(text)
