"""What a run came from, written down in the worker where it is known; only where a run will be signed."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from typing_extensions import override

from nimble_lightning.adapters import NimbleModule, UserTrainer
from nimble_lightning.ops.run_files import read_json, write_json
from nimble_lightning.proof import environment
from nimble_lightning.proof.data_fingerprint import fingerprint
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.job import Job
from nimble_lightning.worker.keep_segments import KeepStretches

_NAMES = {
    "train": ("train_data", "train_dataset"),
    "eval": ("eval_data", "val_data", "eval_dataset"),
    "test": ("test_data", "test_dataset"),
}


class Provenance(L.Callback):
    """Notes code, data, environment and hardware once, as training starts, or where none is left to do."""

    def __init__(self, folder: RunFolder, trainer: str, attempt: int) -> None:
        self._folder = folder
        self._trainer = trainer
        self._attempt = attempt
        self._noted = False

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._note(trainer, pl_module)

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._note(trainer, pl_module)

    def _note(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and not self._noted:
            self._noted = True
            data = fingerprints(trainer, pl_module)
            write(self._folder, self._trainer, self._attempt, data, hardware(trainer))


def callbacks(job: Job, attempt: int) -> list[L.Callback]:
    """What a run that will be signed does besides: note where it came from, keep commits to train between."""
    asked = job.settings
    if not (asked.signed or asked.stretches_replayed):
        return []
    keep = max(asked.stretches_kept, asked.stretches_replayed)
    noting = Provenance(job.folder, job.trainer, attempt)
    return [noting, KeepStretches(job.folder, keep)] if keep else [noting]


def write(
    folder: RunFolder, trainer: str, attempt: int, data: dict[str, Any], machine: dict[str, Any]
) -> None:
    """Write the record; of earlier attempts the code and hardware stay in it."""
    earlier = read_json(folder.provenance)
    history = earlier.pop("earlier", [])
    if earlier and earlier.get("attempt") != attempt:
        history.append({part: earlier.get(part) for part in ("attempt", "code", "hardware")})
    record = {
        "attempt": attempt,
        "code": environment.code(trainer),
        "data": data,
        "environment": environment.environment(),
        "hardware": machine,
        "earlier": history,
    }
    write_json(folder.provenance, record)


def of_whole_run(job: Job, attempt: int, user: UserTrainer, rank: int) -> None:
    """The same for a trainer whose `train` did everything itself."""
    if job.settings.signed and rank == 0:
        data = {name: fingerprint(source) for name, source in _of_user(user).items()}
        device = "cuda" if torch.cuda.is_initialized() else "cpu"
        machine = environment.hardware(device, 1, torch.are_deterministic_algorithms_enabled())
        write(job.folder, job.trainer, attempt, data, machine)


def fingerprints(trainer: L.Trainer, module: L.LightningModule) -> dict[str, Any]:
    """Of all data that can be seen as training starts."""
    return {name: fingerprint(source) for name, source in _sources(trainer, module).items()}


def hardware(trainer: L.Trainer) -> dict[str, Any]:
    """What this run's bits depend on."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    return environment.hardware(trainer.strategy.root_device.type, trainer.world_size, deterministic)


def _sources(trainer: L.Trainer, module: L.LightningModule) -> dict[str, Any]:
    if isinstance(module, NimbleModule) and (found := _of_user(module.user)):
        return found
    loaders = {"train": trainer.train_dataloader, "eval": trainer.val_dataloaders}
    return {name: getattr(loader, "source", loader) for name, loader in loaders.items() if loader is not None}


def _of_user(user: UserTrainer) -> dict[str, Any]:
    found = {name: user.get(*names) for name, names in _NAMES.items()}
    return {name: data for name, data in found.items() if data is not None}
