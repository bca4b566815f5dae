"""The callback of a trial: cuts the data, takes notes of what was computed, and pulls the plug once."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, IterableDataset, Subset
from typing_extensions import override

from nimble_lightning.adapters import NimbleModule

_EVALUATED = ("eval_data", "val_data", "eval_dataset", "test_data", "test_dataset")


class Probe(L.Callback):
    """Writes one line of JSON for each thing worth comparing between trials.

    Args:
        folder: For the notes; a file for each rank.
        samples: How many samples evaluation sees.
        kill_at: Kill the last rank when so many steps are done, the first time they are.
    """

    def __init__(self, folder: str, samples: int, kill_at: int | None = None) -> None:
        self._folder = Path(folder)
        self._samples = samples
        self._kill_at = kill_at

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        comparable, seconds, modules = False, 0.0, dict(pl_module.named_children())
        if isinstance(pl_module, NimbleModule):
            user = pl_module.user
            comparable, seconds, modules = self._cut(user.object), user.seconds_to_prepare, user.modules()
        if not comparable:
            trainer.limit_val_batches = trainer.limit_test_batches = 2
        weights = {f"{name}.{k}": v for name, m in modules.items() for k, v in m.state_dict().items()}
        full = trainer.strategy.root_device.type == "cpu" and str(trainer.precision).startswith(("32", "64"))
        facts = {"comparable": comparable, "seconds": seconds, "full_precision": full}
        self._note(trainer, "start", weights=digests(weights), **facts)

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            self._note(trainer, "evaluated", metrics=metrics)

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, torch.Tensor):
            self._note(trainer, "trained", batch=trainer.fit_loop.total_batch_idx, loss=float(loss))
        if self._kill_at is not None and trainer.global_step >= self._kill_at:
            self._kill_once(trainer)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._note(trainer, "end", weights=digests(pl_module.state_dict()), step=trainer.global_step)

    def _cut(self, user: Any) -> bool:
        """Leave evaluation the first samples only; whether that covers all it will see."""
        whole = [name for name in _EVALUATED if getattr(user, name, None) is not None]
        for name in whole:
            part = _cut(getattr(user, name), self._samples)
            if part is None:
                return False
            setattr(user, name, part)
        return not any(hasattr(user, name) for name in ("eval_dataloader", "test_dataloader"))

    def _kill_once(self, trainer: L.Trainer) -> None:
        flag = self._folder / "killed"
        if trainer.global_rank == trainer.world_size - 1 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, trainer: L.Trainer, what: str, **facts: Any) -> None:
        with open(self._folder / f"rank-{trainer.global_rank}.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, **facts}) + "\n")


def digests(weights: Mapping[str, Any]) -> dict[str, str]:
    """A digest of each tensor, to be compared bit for bit."""
    found = {}
    for name, value in weights.items():
        if isinstance(value, torch.Tensor):
            flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            found[name] = hashlib.sha256(flat.numpy().tobytes()).hexdigest()
    return found


def _cut(data: Any, samples: int) -> Any | None:
    """The first so many samples; None where that cannot be told from outside."""
    if hasattr(data, "take") and hasattr(data, "with_format"):
        return data.take(samples)
    if hasattr(data, "select") and hasattr(data, "with_format"):
        return data.select(range(min(samples, len(data))))
    if isinstance(data, Mapping):
        return type(data)({name: column[:samples] for name, column in data.items()})  # type: ignore[call-arg]
    if isinstance(data, tuple | list) and data and all(hasattr(column, "shape") for column in data):
        return type(data)(column[:samples] for column in data)
    if hasattr(data, "shape") or isinstance(data, list | tuple):
        return data[:samples]
    if isinstance(data, DataLoader):
        return _cut_loader(data, samples)
    if isinstance(data, IterableDataset):
        return _First(data, samples)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return Subset(data, range(min(samples, len(data))))
    return None


def _cut_loader(loader: DataLoader[Any], samples: int) -> DataLoader[Any] | None:
    """A loader with a sampler of its own decides itself what it visits."""
    if loader.batch_size is None or isinstance(loader.dataset, IterableDataset):
        return None
    part: Any = _cut(loader.dataset, samples)
    return DataLoader(part, batch_size=loader.batch_size, collate_fn=loader.collate_fn)


class _First(IterableDataset[Any]):
    def __init__(self, data: Any, samples: int) -> None:
        self._data = data
        self._samples = samples

    def __iter__(self) -> Any:
        return islice(iter(self._data), self._samples)
