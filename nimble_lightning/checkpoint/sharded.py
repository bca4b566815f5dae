"""Strategies that save the model in pieces, one a rank: their folders are whole or absent too.

Lightning's FSDP and model-parallel strategies write and read past its checkpoint plugin, so it is the two
methods of the strategy that ours stand before.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy, Strategy

from nimble_lightning.checkpoint.facts import RunFacts
from nimble_lightning.checkpoint.folders import record, seal_folder, staging_folder
from nimble_lightning.checkpoint.hyper_parameters import with_plain_settings
from nimble_lightning.checkpoint.io import local
from nimble_lightning.checkpoint.manifest import FileRecord, Manifest
from nimble_lightning.checkpoint.pickles import refuse_pickled_code
from nimble_lightning.checkpoint.retention import prune_retired
from nimble_lightning.checkpoint.safety import check_step, refuse_code, refuse_unsafe
from nimble_lightning.checkpoint.stages import reach
from nimble_lightning.checkpoint.together import first_alone, together
from nimble_lightning.checkpoint.whole import files_in, verify
from nimble_lightning.errors import RequestError

# Lightning's name for the part that is not cut up.
_UNCUT = "meta.pt"


def commit_shards(strategy: Strategy) -> None:
    """From now on commit what the strategy saves, and check what it loads; others are left as they are."""
    if (shards := Shards.of(strategy)) is not None:
        shards.stand_before()


class Shards:
    """How one strategy saves and loads, on each rank."""

    def __init__(self, strategy: FSDPStrategy | ModelParallelStrategy) -> None:
        self._strategy = strategy
        self._save, self._load = strategy.save_checkpoint, strategy.load_checkpoint
        self._parent: str | None = None

    @classmethod
    def of(cls, strategy: Strategy) -> Shards | None:
        """None for a strategy that leaves saving to the plugin, or that is taken care of already."""
        if not isinstance(strategy, FSDPStrategy | ModelParallelStrategy):
            return None
        return None if "save_checkpoint" in vars(strategy) else cls(strategy)

    def stand_before(self) -> None:
        """Save and load in the strategy's place."""
        self._strategy.save_checkpoint = self.save  # type: ignore[method-assign]
        self._strategy.load_checkpoint = self.load  # type: ignore[method-assign]

    def step_aside(self) -> None:
        """Let the strategy save and load as before."""
        del self._strategy.save_checkpoint, self._strategy.load_checkpoint

    def save(
        self, checkpoint: dict[str, Any], filepath: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Every rank writes its piece beside the final name; the first one then commits them all."""
        if storage_options is not None:
            raise RequestError(f"`storage_options={storage_options!r}` is not for local files; leave it out.")
        path = local(self._strategy.broadcast(filepath))
        if not _cuts_up(self._strategy):
            # One file, by the plugin.
            self._save(checkpoint, path)
            return
        # The pieces are on the CPU by now, wherever the weights are.
        facts = replace(RunFacts.of(checkpoint), device=self._strategy.root_device.type)
        staged = first_alone(lambda: staging_folder(path))
        try:
            pieces = together(lambda: self._write(checkpoint, staged))
            shards = {name: found for piece in pieces for name, found in piece.items()}
            self._parent = first_alone(lambda: self._seal(path, facts, staged, shards))
        except BaseException:
            if self._strategy.is_global_zero:
                shutil.rmtree(staged, ignore_errors=True)
            raise

    def load(
        self, checkpoint_path: str | os.PathLike[str], weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Nothing is read by anybody before the first rank has found it whole."""
        refuse_code(weights_only)
        path = local(self._strategy.broadcast(checkpoint_path))
        manifest = first_alone(lambda: _checked(path))
        checkpoint = self._load(path, weights_only=True)
        check_step(checkpoint, manifest, path)
        self._parent = self._parent or manifest.digest
        return checkpoint

    def _write(self, checkpoint: dict[str, Any], staged: Path) -> dict[str, FileRecord]:
        """What this rank wrote of it, hashed while it is still in this machine's memory."""
        self._save(dict(with_plain_settings(checkpoint)), staged)
        if self._strategy.is_global_zero:
            refuse_unsafe(staged / _UNCUT)
        reach("half")
        own = f"__{self._strategy.global_rank}_"
        return {name: record(staged / name) for name in files_in(staged) if name.startswith(own)}

    def _seal(self, path: Path, facts: RunFacts, staged: Path, shards: Mapping[str, FileRecord]) -> str:
        """Commit it; returns the digest of its manifest."""
        manifest = seal_folder(path, facts, staged=staged, parent=self._parent, shards=shards)
        prune_retired(path.parent)
        return manifest.digest


def _checked(path: Path) -> Manifest:
    manifest = verify(path)
    if path.is_dir():
        refuse_pickled_code(path, manifest.files)
    return manifest


def _cuts_up(strategy: FSDPStrategy | ModelParallelStrategy) -> bool:
    if isinstance(strategy, ModelParallelStrategy):
        return strategy._save_distributed_checkpoint
    return strategy._state_dict_type == "sharded"
