"""`nl.load`: the model of a run, after its signature held; or what is in a single checkpoint."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import lightning as L
import torch

from nimble_lightning.adapters import NimbleModule
from nimble_lightning.checkpoint import Manifest, newest_whole, verify
from nimble_lightning.checkpoint.frozen_weights import complete
from nimble_lightning.checkpoint.full_weights import weights_of
from nimble_lightning.checkpoint.integrity import NOT_LOADED, not_loaded, open_verified
from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.ops.plain_files import found_inside, is_inside, open_plain
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.planning.custom_sharding import sharding_noted
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.trust import TrustTerms, Vouched, vouched
from nimble_lightning.settings import RunSettings
from nimble_lightning.worker.lightning_objects import Parts, build_parts

_FOREIGN = "its bytes are vouched for by nobody; it is loaded with weights_only=True"


def load(
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    trainer: str | None = None,
    trust: bool = False,
    unpickle: bool = False,
) -> Any:
    """The best model of a run folder, ready to be asked; of a checkpoint file, what is in it.

    Args:
        path: A run folder, or a checkpoint.
        key: The public half of the key that has to have signed the run.
        trainer: The trainer's file, which is run to build the model; with a key it has to be the one that was
            signed.
        trust: Run the trainer that the folder names, though nobody vouches for it but you.
        unpickle: Also load a checkpoint that is more than tensors and plain values. It may run any code.

    Raises:
        CheckpointError: The run is not what was signed, or the file needs `unpickle=True`.
        RequestError: There is neither key, trainer nor trust: the folder alone has no code run.

    Example::

        model = nl.load("outputs/digits/first", key="key.pub.pem")
    """
    # What is named is meant, be it by a link; what is in a folder has to be there itself.
    place = Path(path).resolve()
    if not place.is_dir():
        if key is not None:
            raise RequestError(f"{place} is one file; what is signed is a run folder. Give that, or no key.")
        return _checkpoint(place, unpickle=unpickle)
    run = vouched(place, TrustTerms(key, trainer, trust))
    parts = built(run, run.settings)
    give_weights(parts, run, best_checkpoint(run.job.folder, run.job.run_id, run.claims))
    return _model(parts).eval()


def built(run: Vouched, settings: RunSettings) -> Parts:
    """The module as training would have it, before its weights are loaded.

    Args:
        run: Whose trainer it is.
        settings: Of the run, or near to them.
    """
    context = {"run_folder": str(run.job.folder.path), "resume_from": None}
    # A model that the run cut up stays whole here, where there is nobody to share it with.
    with sharding_noted():
        parts = build_parts(settings, context, run.target)
        if parts.user is not None:
            if parts.user.trains_by_itself:
                raise RequestError(
                    f"{parts.user.name}.train makes the model by itself, so it cannot be built again. What "
                    f"it trained is in {run.job.folder.exported}, as safetensors."
                )
            parts.user.prepare()
            if isinstance(parts.module, NimbleModule):
                parts.module.setup("fit")
        parts.module.configure_model()
    return parts


def best_checkpoint(folder: RunFolder, run_id: str, claims: Mapping[str, Any] | None = None) -> Path:
    """The checkpoint that the run's record names, else the newest of the best, else the newest.

    Args:
        folder: Of the run.
        run_id: Its name.
        claims: What was signed of it, which goes before its record.
    """
    named = (claims or {}).get("best_checkpoint") or read_json(folder.run).get("best_checkpoint")
    if named:
        # The folder may have been moved since.
        there = found_inside(folder.path, folder.checkpoints, Path(str(named)).name)
        if not there:
            raise CheckpointError(f"{folder.path} has lost its best checkpoint, {Path(str(named)).name}.")
        return there[0]
    for place in (folder.best, folder.steps):
        inside = is_inside(folder.path, place)
        if inside and (newest := newest_whole(place, run_id=run_id)) is not None:
            return newest.path
    raise RequestError(f"{folder.path} holds no checkpoint yet. Train first.")


def give_weights(parts: Parts, run: Vouched, path: Path) -> int:
    """Load a checkpoint of the run from the very bytes that were checked; returns its step."""
    if path.is_dir():
        manifest = verify(path, run_id=run.job.run_id)
        _require_signed(path, manifest, run.claims)
        weights = weights_of(path)
    else:
        with open_verified(path, run_id=run.job.run_id) as (file, manifest):
            _require_signed(path, manifest, run.claims)
            weights = _loaded(file, path)["state_dict"]
    try:
        parts.module.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"The trainer does not build the model that this run trained: {reason} Use the file as it was."
        ) from None
    return manifest.step


def _require_signed(path: Path, manifest: Manifest, claims: Mapping[str, Any]) -> None:
    signed = {entry["manifest"] for entry in claims.get("checkpoints", ())}
    if claims and manifest.digest not in signed:
        raise CheckpointError(f"{path} was not signed, or was changed after it was verified.")


def _checkpoint(path: Path, *, unpickle: bool) -> Any:
    try:
        with open_plain(path) as file:
            if not unpickle:
                warnings.warn(f"{path}: {_FOREIGN}", stacklevel=3)
            return (
                torch.load(file, map_location="cpu", weights_only=False) if unpickle else _loaded(file, path)
            )
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from None


def _loaded(file: BinaryIO, path: Path) -> Any:
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except NOT_LOADED as error:
        raise not_loaded(path, error) from None
    return complete(loaded, path) if isinstance(loaded, dict) else loaded


def _model(parts: Parts) -> torch.nn.Module:
    """The trainer's own model where it has just one; else the module that holds them all."""
    if isinstance(parts.module, L.LightningModule) and parts.user is not None:
        own = parts.user.modules()
        if len(own) == 1:
            return next(iter(own.values()))
    return parts.module
