"""What a run came from, written down in the worker where it is known; only where a run will be signed."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from typing_extensions import override

from nimble_lightning.adapters import NimbleModule, UserTrainer
from nimble_lightning.proof import surroundings
from nimble_lightning.proof.fingerprint import fingerprint
from nimble_lightning.runtime.folder import RunFolder, read_json, write_json
from nimble_lightning.runtime.job import Job

_NAMES = {
    "train": ("train_data", "train_dataset"),
    "eval": ("eval_data", "val_data", "eval_dataset"),
    "test": ("test_data", "test_dataset"),
}


class Provenance(L.Callback):
    """Notes code, data, environment and hardware once, as training starts."""

    def __init__(self, folder: RunFolder, trainer: str, attempt: int) -> None:
        self._folder = folder
        self._trainer = trainer
        self._attempt = attempt

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            device, ranks = trainer.strategy.root_device.type, trainer.world_size
            data = {name: fingerprint(source) for name, source in _sources(trainer, pl_module).items()}
            write(self._folder, self._trainer, self._attempt, data, surroundings_of(device, ranks))


def callbacks(job: Job, attempt: int) -> list[L.Callback]:
    """What notes it during training."""
    return [Provenance(job.folder, str(job.config.trainer), attempt)] if wanted(job) else []


def wanted(job: Job) -> bool:
    """Whether this run will be signed."""
    return bool((job.config.get("signature") or {}).get("_target_"))


def write(
    folder: RunFolder, trainer: str, attempt: int, data: dict[str, Any], hardware: dict[str, Any]
) -> None:
    """Write the record; of earlier attempts the code and hardware stay in it."""
    earlier = read_json(folder.provenance)
    history = earlier.pop("earlier", [])
    if earlier and earlier.get("attempt") != attempt:
        history.append({part: earlier.get(part) for part in ("attempt", "code", "hardware")})
    record = {
        "attempt": attempt,
        "code": surroundings.code(trainer),
        "data": data,
        "environment": surroundings.environment(),
        "hardware": hardware,
        "earlier": history,
    }
    write_json(folder.provenance, record)


def of_whole_run(job: Job, attempt: int, user: UserTrainer, rank: int) -> None:
    """The same for a trainer whose `train` did everything itself."""
    if wanted(job) and rank == 0:
        data = {name: fingerprint(source) for name, source in _of_user(user).items()}
        device = "cuda" if torch.cuda.is_initialized() else "cpu"
        write(job.folder, str(job.config.trainer), attempt, data, surroundings_of(device, 1))


def surroundings_of(device: str, ranks: int) -> dict[str, Any]:
    return surroundings.hardware(device, ranks, torch.are_deterministic_algorithms_enabled())


def _sources(trainer: L.Trainer, module: L.LightningModule) -> dict[str, Any]:
    if isinstance(module, NimbleModule) and (found := _of_user(module.user)):
        return found
    loaders = {"train": trainer.train_dataloader, "eval": trainer.val_dataloaders}
    return {name: getattr(loader, "source", loader) for name, loader in loaders.items() if loader is not None}


def _of_user(user: UserTrainer) -> dict[str, Any]:
    found = {name: user.get(*names) for name, names in _NAMES.items()}
    return {name: data for name, data in found.items() if data is not None}
