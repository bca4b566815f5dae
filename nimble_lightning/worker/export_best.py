"""`best/`: the weights that were just evaluated, as safetensors, at the end, and how to make them again."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import torch
from torch import nn

from nimble_lightning.adapters import NimbleModule
from nimble_lightning.checkpoint.file_names import manifest_path
from nimble_lightning.checkpoint.integrity import read_manifest
from nimble_lightning.errors import CheckpointError, ExportError, NimbleError
from nimble_lightning.export.compare_weights import fingerprint, is_sharded, sizes
from nimble_lightning.export.exportable_models import ExportedModel, models_of
from nimble_lightning.export.formats import ExportFormat
from nimble_lightning.export.metadata import folder_for, sha256
from nimble_lightning.export.write_exports import judge_together, save_weights
from nimble_lightning.ops.secrets import redacted
from nimble_lightning.runs.heartbeat import Heart, Phase
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.record import versions
from nimble_lightning.worker.lightning_objects import Parts

log = logging.getLogger(__name__)


class AtEnd:
    """Sees the weights before training, so that an export of an untrained model can be refused.

    Args:
        job: What was asked; nothing is done where its `export` does not name safetensors.
        rank: The first one exports.
        heart: Where to ask for patience: large weights take their time, and other ranks wait for them.
    """

    def __init__(self, job: Job, rank: int, heart: Heart | None = None) -> None:
        self._job = job
        self._heart = heart
        self._on = rank == 0 and ExportFormat.SAFETENSORS in (job.settings.export or ())
        self._bases: dict[str, dict[str, int]] = {}
        self._sizes: dict[str, dict[str, torch.Size]] = {}

    def see(self, owner: Any) -> None:
        """Note the weights as they are now; a model that is not there yet is none of ours to judge."""
        if self._on and not self._bases:
            self._guarded(lambda: self._note(models_of(owner)), lambda e: log.debug("nothing noted: %s", e))

    def export(self, owner: Any, best: str | None, step: int | None) -> None:
        """Write `best/`. A run does not fail for it: what cannot be exported is a warning with a command."""
        if self._heart is not None:
            self._heart.beat(step or 0, Phase.SAVING)
        if self._on:
            self._guarded(lambda: self._export(owner, best, step), self._say)

    def _note(self, models: list[ExportedModel]) -> None:
        for model in models:
            self._bases[model.name] = fingerprint(model.module)
            self._sizes[model.name] = sizes(model.module)

    def _export(self, owner: Any, best: str | None, step: int | None) -> None:
        began = time.monotonic()
        models = models_of(owner)
        for model in models:
            model.base = self._bases.get(model.name)
            # Before anything is computed: with such weights, that would wait for the other ranks.
            found = sizes(model.module)
            if is_sharded(model.module) or self._sizes.get(model.name, found) != found:
                raise ExportError(f"This process holds only a part of {model.name}.")
        judge_together(models)
        for model in models:
            out = folder_for(self._job.folder.exported, model.name, len(models))
            save_weights(model, out, facts_of(self._job, model, best, _step_of(best, step)))
        log.debug("exported in %.2f s", time.monotonic() - began)

    def _say(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, NimbleError) else f"{type(error).__name__}: {error}"
        command = f"nimble-cli export {self._job.folder.path} --to safetensors --trust"
        log.warning("best/ was not written: %s To try again: %s", reason.partition("\n")[0], command)

    @staticmethod
    def _guarded(act: Callable[[], object], say: Callable[[Exception], object]) -> None:
        try:
            act()
        except Exception as error:  # the run counts, and it is trained
            say(error)


def _step_of(best: str | None, last: int | None) -> int | None:
    """Of the checkpoint that was evaluated; one of a plugin of the user's does not say."""
    with contextlib.suppress(CheckpointError):
        return last if best is None else read_manifest(manifest_path(Path(best))).step
    return None


def owner_of(parts: Parts) -> Any:
    """Whose attributes the models are: the user's trainer, or a LightningModule of the user's."""
    return (
        parts.user.object
        if parts.user is not None and isinstance(parts.module, NimbleModule)
        else parts.module
    )


def owner_of_returned(user: Any, returned: Any) -> Any:
    """The same for a `train` that did everything itself."""
    if isinstance(returned, L.LightningModule | nn.Module) or not hasattr(returned, "processing_class"):
        return user
    return SimpleNamespace(model=returned.model, tokenizer=returned.processing_class)


def facts_of(
    job: Job, model: ExportedModel, checkpoint: str | Path | None, step: int | None
) -> dict[str, Any]:
    """Facts without secrets: references in the parameters stay references, paths are names of files."""
    facts = {
        "run": {
            "id": job.run_id,
            "name": job.name,
            "checkpoint": Path(checkpoint).name if checkpoint else None,
            "step": step,
        },
        "model": {"name": model.name, "class": model.class_name, **_trainer(job.trainer)},
        "params": job.unresolved().get("params") or {},
        "seed": job.settings.seed,
        "versions": versions(),
    }
    plain: dict[str, Any] = redacted(facts)
    return plain


def _trainer(spec: str) -> dict[str, Any]:
    place, _, name = spec.rpartition(":")
    path = Path(place or spec)
    if path.suffix != ".py" or not path.is_file():
        return {"trainer": spec}
    return {"trainer": f"{path.name}:{name}" if place else path.name, "trainer_sha256": sha256(path)}
