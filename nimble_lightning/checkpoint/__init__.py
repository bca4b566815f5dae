"""Checkpoints that are whole or absent, and the plugin that makes Lightning write them.

Finding and checking them needs no torch, so that the supervisor can do it; names are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nimble_lightning._lazy import lazy

if TYPE_CHECKING:
    from nimble_lightning.checkpoint.async_io import AsyncNimbleCheckpointIO
    from nimble_lightning.checkpoint.cleanup import sweep
    from nimble_lightning.checkpoint.integrity import verify
    from nimble_lightning.checkpoint.io import NimbleCheckpointIO
    from nimble_lightning.checkpoint.manifest import FileRecord, Manifest
    from nimble_lightning.checkpoint.position import RunFacts
    from nimble_lightning.checkpoint.resolver import Found, newest_whole
    from nimble_lightning.checkpoint.retention import prune
    from nimble_lightning.checkpoint.sharded_folders import seal_folder, staging_folder
    from nimble_lightning.checkpoint.sharded_strategies import commit_shards

__all__ = [
    "AsyncNimbleCheckpointIO",
    "FileRecord",
    "Found",
    "Manifest",
    "NimbleCheckpointIO",
    "RunFacts",
    "commit_shards",
    "newest_whole",
    "prune",
    "seal_folder",
    "staging_folder",
    "sweep",
    "verify",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "AsyncNimbleCheckpointIO": "nimble_lightning.checkpoint.async_io",
        "FileRecord": "nimble_lightning.checkpoint.manifest",
        "Found": "nimble_lightning.checkpoint.resolver",
        "Manifest": "nimble_lightning.checkpoint.manifest",
        "NimbleCheckpointIO": "nimble_lightning.checkpoint.io",
        "RunFacts": "nimble_lightning.checkpoint.position",
        "commit_shards": "nimble_lightning.checkpoint.sharded_strategies",
        "newest_whole": "nimble_lightning.checkpoint.resolver",
        "prune": "nimble_lightning.checkpoint.retention",
        "seal_folder": "nimble_lightning.checkpoint.sharded_folders",
        "staging_folder": "nimble_lightning.checkpoint.sharded_folders",
        "sweep": "nimble_lightning.checkpoint.cleanup",
        "verify": "nimble_lightning.checkpoint.integrity",
    },
)
