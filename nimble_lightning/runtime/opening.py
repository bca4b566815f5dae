"""`nl.load`: the model of a run, after its signature held; or what is in a single checkpoint."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch

from nimble_lightning.adapters import NimbleModule
from nimble_lightning.checkpoint.disk import open_plain
from nimble_lightning.checkpoint.whole import open_verified
from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.proof.digests import digest_of
from nimble_lightning.proof.surroundings import file_of, moved
from nimble_lightning.proof.verifying import verify
from nimble_lightning.runtime.building import Parts, build_parts
from nimble_lightning.runtime.folder import read_json
from nimble_lightning.runtime.job import Job

_FOREIGN = "its bytes are vouched for by nobody; it is loaded with weights_only=True"


def load(
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    trainer: str | None = None,
    unpickle: bool = False,
) -> Any:
    """The best model of a run folder, ready to be asked; of a checkpoint file, what is in it.

    Args:
        path: A run folder, or a checkpoint.
        key: The public half of the key that has to have signed the run. Without it the model is loaded all
            the same, with a warning.
        trainer: The trainer's file, where it is not where the run had it. It is run to build the model; with
            a key it has to be the one that was signed.
        unpickle: Also load a checkpoint that is more than tensors and plain values. It may run any code.

    Raises:
        CheckpointError: The run is not what was signed, or the file needs `unpickle=True`.

    Example::

        model = nl.load("outputs/digits/first", key="key.pub.pem")
    """
    place = Path(os.path.abspath(path))
    if not place.is_dir():
        if key is not None:
            raise RequestError(f"{place} is one file; what is signed is a run folder. Give that, or no key.")
        return _checkpoint(place, unpickle=unpickle)
    claims = _verified(place, key)
    job = Job.load(place)
    if trainer is not None:
        job.config.trainer = moved(str(job.config.trainer), trainer)
    _check_trainer(str(job.config.trainer), claims)
    parts = _built(job)
    weights = _weights(place, claims)["state_dict"]
    parts.module.load_state_dict(weights)
    return _model(parts).eval()


def _verified(folder: Path, key: str | None) -> Mapping[str, Any]:
    """What was signed; empty where nobody asked."""
    if key is None:
        warnings.warn(f"{folder} is not verified (no key was given); {_FOREIGN}", stacklevel=3)
        return {}
    report = verify(folder, key)
    if not report.verified:
        raise CheckpointError(f"{folder} is not what was signed: {'; '.join(map(str, report.problems[:3]))}")
    return report.claims


def _check_trainer(spec: str, claims: Mapping[str, Any]) -> None:
    file = file_of(spec)
    if file is None:
        raise RequestError(f"The trainer {spec} is not here; say where it is: nl.load(..., trainer=FILE)")
    signed = ((claims.get("code") or {}).get("trainer") or {}).get("sha256")
    if signed is not None and digest_of(file).sha256 != signed:
        raise CheckpointError(f"{file} is not the trainer that was signed; give that one: trainer=FILE")


def _built(job: Job) -> Parts:
    """The module as training would have it, before its weights are loaded."""
    parts = build_parts(job.resolved(), {"run_folder": str(job.folder.path), "resume_from": None})
    if parts.user is not None:
        if parts.user.trains_by_itself:
            raise RequestError("The trainer does everything itself; load what it left in the run folder.")
        parts.user.prepare()
        if isinstance(parts.module, NimbleModule):
            parts.module.setup("fit")
    return parts


def _weights(folder: Path, claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """The best checkpoint, else the newest; from the very file whose bytes were checked."""
    best = claims.get("best_checkpoint") or read_json(folder / "run.json").get("best_checkpoint")
    names = [Path(best).name] if best else []
    found = [p for name in names for p in sorted((folder / "checkpoints").rglob(name))]
    found = found or sorted((folder / "checkpoints" / "steps").glob("*.ckpt"))[-1:]
    if not found:
        raise CheckpointError(f"{folder} holds no checkpoint.")
    with open_verified(found[-1]) as (file, manifest):
        signed = {entry["manifest"] for entry in claims.get("checkpoints", ())}
        if claims and manifest.digest not in signed:
            raise CheckpointError(f"{found[-1]} was changed after it was verified.")
        return torch.load(file, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]


def _checkpoint(path: Path, *, unpickle: bool) -> Any:
    try:
        with open_plain(path) as file:
            if not unpickle:
                warnings.warn(f"{path}: {_FOREIGN}", stacklevel=3)
            return torch.load(file, map_location="cpu", weights_only=not unpickle)
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        if unpickle:
            raise
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} does not load with weights_only=True: {reason}") from None


def _model(parts: Parts) -> torch.nn.Module:
    """The trainer's own model where it has just one; else the module that holds them all."""
    if isinstance(parts.module, L.LightningModule) and parts.user is not None:
        own = parts.user.modules()
        if len(own) == 1:
            return next(iter(own.values()))
    return parts.module
