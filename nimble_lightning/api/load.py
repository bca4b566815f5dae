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
from nimble_lightning.checkpoint.frozen_weights import complete
from nimble_lightning.checkpoint.integrity import NOT_LOADED, not_loaded, open_verified
from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.ops.plain_files import found_inside, open_plain
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.run_folder import CHECKPOINTS, RECORD, STEPS
from nimble_lightning.runs.trust import TrustTerms, Vouched, vouched
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
    folder = vouched(place, TrustTerms(key, trainer, trust))
    parts = _built(folder)
    weights = _weights(place, folder.claims)["state_dict"]
    parts.module.load_state_dict(weights)
    return _model(parts).eval()


def _built(folder: Vouched) -> Parts:
    """The module as training would have it, before its weights are loaded."""
    context = {"run_folder": str(folder.job.folder.path), "resume_from": None}
    parts = build_parts(folder.settings, context, folder.target)
    if parts.user is not None:
        if parts.user.trains_by_itself:
            raise RequestError("The trainer does everything itself; load what it left in the run folder.")
        parts.user.prepare()
        if isinstance(parts.module, NimbleModule):
            parts.module.setup("fit")
    return parts


def _weights(folder: Path, claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """The best checkpoint, else the newest; from the very file whose bytes were checked."""
    best = claims.get("best_checkpoint") or read_json(folder / RECORD).get("best_checkpoint")
    names = [Path(best).name] if isinstance(best, str) else []
    found = [path for name in names for path in found_inside(folder, folder / CHECKPOINTS, name)]
    found = found or found_inside(folder, folder / STEPS, "*.ckpt")
    if not found:
        raise CheckpointError(f"{folder} holds no checkpoint.")
    with open_verified(found[-1]) as (file, manifest):
        signed = {entry["manifest"] for entry in claims.get("checkpoints", ())}
        if claims and manifest.digest not in signed:
            raise CheckpointError(f"{found[-1]} was changed after it was verified.")
        return _loaded(file, found[-1])  # type: ignore[no-any-return]


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
