"""A manifest for files just written: the run's facts, and what else their bits depend on."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import version

import torch

from nimble_lightning.checkpoint.manifest import FileRecord, Manifest
from nimble_lightning.checkpoint.position import RunFacts


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
