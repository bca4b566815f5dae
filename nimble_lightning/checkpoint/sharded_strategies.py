"""Strategies that save the model in pieces, one a rank: their folders are whole or absent too.

Lightning's FSDP, model-parallel and DeepSpeed strategies write and read past its checkpoint plugin, so it is
the two methods of the strategy that ours stand before.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import Strategy

from nimble_lightning.checkpoint.collective import first_alone, together
from nimble_lightning.checkpoint.contents import pickle_check
from nimble_lightning.checkpoint.contents.hyper_parameters import with_plain_settings
from nimble_lightning.checkpoint.contents.pickle_check import refuse_pickled_code
from nimble_lightning.checkpoint.fault_points import reach
from nimble_lightning.checkpoint.integrity import files_in, not_loaded, verify
from nimble_lightning.checkpoint.io import local, refuse_code, refuse_unsafe
from nimble_lightning.checkpoint.manifest import FileRecord, Manifest
from nimble_lightning.checkpoint.position import RunFacts, check_step
from nimble_lightning.checkpoint.retention import prune_retired
from nimble_lightning.checkpoint.sharded_folders import record, seal_folder, staging_folder
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.strategy_traits import Averages, traits_of

# Lightning's name for the part that is not cut up.
_UNCUT = "meta.pt"


def commit_shards(strategy: Strategy) -> None:
    """From now on commit what the strategy saves, and check what it loads; others are left as they are."""
    if (shards := Shards.of(strategy)) is not None:
        shards.stand_before()


class Shards:
    """How one strategy saves and loads, on each rank."""

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy
        self._save, self._load = strategy.save_checkpoint, strategy.load_checkpoint
        self._parent: str | None = None

    @classmethod
    def of(cls, strategy: Strategy) -> Shards | None:
        """None for a strategy that leaves saving to the plugin, or that is taken care of already."""
        if "save_checkpoint" in vars(strategy):
            return None
        traits = traits_of(strategy)
        if traits.averages is Averages.ENGINE:
            return EngineShards(strategy)
        return cls(strategy) if traits.sharded else None

    def stand_before(self) -> None:
        """Save and load in the strategy's place."""
        self._strategy.save_checkpoint = self.save
        self._strategy.load_checkpoint = self.load

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
        if not self._cuts_up():
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
        manifest = first_alone(lambda: self._check(path))
        checkpoint = self._read(path)
        check_step(checkpoint, manifest, path)
        self._parent = self._parent or manifest.digest
        return checkpoint

    def _write(self, checkpoint: dict[str, Any], staged: Path) -> dict[str, FileRecord]:
        """What this rank wrote of it, hashed while it is still in this machine's memory."""
        self._save(dict(with_plain_settings(checkpoint)), staged)
        own = [name for name in files_in(staged) if self._is_own(name)]
        self._refuse_unsafe(staged, own)
        reach("half")
        return {name: record(staged / name) for name in own}

    def _seal(self, path: Path, facts: RunFacts, staged: Path, shards: Mapping[str, FileRecord]) -> str:
        """Commit it; returns the digest of its manifest."""
        manifest = seal_folder(path, facts, staged=staged, parent=self._parent, shards=shards)
        prune_retired(path.parent)
        return manifest.digest

    # --- what differs between strategies ------------------------------------------------------

    def _cuts_up(self) -> bool:
        if traits_of(self._strategy).flat:
            return bool(self._strategy._state_dict_type == "sharded")
        return bool(self._strategy._save_distributed_checkpoint)

    def _is_own(self, name: str) -> bool:
        """Whether this rank, and no other, wrote a file."""
        return name.startswith(f"__{self._strategy.global_rank}_")

    def _refuse_unsafe(self, staged: Path, own: list[str]) -> None:
        """Raise if something this rank wrote could not be loaded again."""
        if self._strategy.is_global_zero:
            refuse_unsafe(staged / _UNCUT)

    def _check(self, path: Path) -> Manifest:
        """Raise if a checkpoint is not whole, or could run code."""
        manifest = verify(path)
        if path.is_dir():
            refuse_pickled_code(path, manifest.files)
        return manifest

    def _read(self, path: Path) -> dict[str, Any]:
        checkpoint: dict[str, Any] = self._load(path, weights_only=True)
        return checkpoint


class EngineShards(Shards):
    """Those of DeepSpeed, which would read them whatever is in them."""

    def _cuts_up(self) -> bool:
        return True

    def _is_own(self, name: str) -> bool:
        part = f"zero_pp_rank_{self._strategy.global_rank}_" in name
        return part or self._strategy.is_global_zero and "zero_pp_rank_" not in name

    def _refuse_unsafe(self, staged: Path, own: list[str]) -> None:
        with pickle_check.weights_only():
            for name in own:
                if name.endswith(".pt"):
                    refuse_unsafe(staged / name)

    def _check(self, path: Path) -> Manifest:
        return verify(path)

    def _read(self, path: Path) -> dict[str, Any]:
        engine = self._strategy.deepspeed_engine
        if engine.optimizer is not None and not hasattr(engine.optimizer, "_restore_from_bit16_weights"):
            # Where parameters are cut up and nothing is trained, DeepSpeed looks for it in vain.
            engine.optimizer._restore_from_bit16_weights = lambda: None
        try:
            with pickle_check.weights_only():
                return super()._read(path)
        except pickle.UnpicklingError as error:
            raise not_loaded(path, error) from error
