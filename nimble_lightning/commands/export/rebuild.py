"""A run's model built again from its folder: the job, the trainer's file, a checkpoint that was verified."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from nimble_lightning.adapters import NimbleModule
from nimble_lightning.api import load
from nimble_lightning.checkpoint import verify
from nimble_lightning.checkpoint.full_weights import weights_of
from nimble_lightning.errors import ExportError
from nimble_lightning.export.compare_weights import fingerprint
from nimble_lightning.export.example_inputs import ExampleCall, of_tokens, record
from nimble_lightning.export.exportable_models import ExportedModel, is_adapter, models_of
from nimble_lightning.export.merged_adapter import require_base
from nimble_lightning.export.torch_export import quiet
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.trust import TrustTerms, Vouched, vouched
from nimble_lightning.settings import ModelSettings
from nimble_lightning.worker.export_best import owner_of
from nimble_lightning.worker.lightning_objects import Parts
from nimble_lightning.worker.seeds import seed_all


@dataclass
class Rebuilt:
    """A run's trainer, made anew.

    Attributes:
        job: The run.
        parts: What it trained.
        models: What can be exported of it, each with what its weights were before training.
    """

    job: Job
    parts: Parts
    models: list[ExportedModel]


def built(run: Vouched) -> Rebuilt:
    """Do what the run did before its first step, on the CPU."""
    job = run.job
    # One batch is wanted, from this process, and the model as it was written.
    here = replace(run.settings.data, num_workers=0)
    settings = replace(run.settings, data=here, model=ModelSettings())
    seed_all(settings.seed)
    parts = load.built(run, settings)
    models = models_of(owner_of(parts))
    for model in models:
        model.base = fingerprint(model.module)
        model.module.eval()
    return Rebuilt(job, parts, models)


def build_model(folder: Path, name: str, trainer: str, whole: bool) -> nn.Module:
    """One model of a run, untrained; for the process that checks an export of what is vouched for."""
    run = vouched(folder, TrustTerms(trainer=trainer, trust=whole))
    return {model.name: model.module for model in built(run).models}[name]


def load_best(rebuilt: Rebuilt) -> tuple[Path, int]:
    """Give the models their best weights; returns the checkpoint and its step."""
    path = load.best_checkpoint(rebuilt.job.folder, rebuilt.job.run_id)
    manifest = verify(path, run_id=rebuilt.job.run_id)
    weights = weights_of(path)
    if any(is_adapter(model.module) for model in rebuilt.models):
        base = rebuilt.job.settings.params.get("model", "What is built")
        require_base(rebuilt.parts.module, weights, str(base))
    try:
        rebuilt.parts.module.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ExportError(
            f"The trainer no longer builds the model that this run trained: {reason} Use the file as it was."
        ) from None
    return path, manifest.step


def sample_calls(rebuilt: Rebuilt) -> dict[str, ExampleCall]:
    """Real arguments of each model, from evaluating one batch."""
    modules = {model.name: model.module for model in rebuilt.models}
    batch = first_batch(rebuilt.parts)
    with quiet():
        calls = record(modules, lambda: _evaluate(rebuilt.parts, batch))
        if not calls and (alone := rebuilt.parts.module) in modules.values():
            calls = record(modules, lambda: alone(_inputs_of(alone, batch)))
    for name in modules.keys() - calls.keys():
        if (call := of_tokens(modules[name], batch)) is not None:
            calls[name] = call
            continue
        raise ExportError(f"{name} was never called while a batch was evaluated; there is no sample for it.")
    return calls


def first_batch(parts: Parts) -> Any:
    """The first batch to evaluate; to train on, where nothing is evaluated."""
    if parts.data is not None:
        parts.data.prepare_data()
        parts.data.setup("fit")
    for loader in _loaders(parts):
        for batch in loader:
            return batch
    raise ExportError("There is no data to check an export with: no evaluation and no training data.")


def _loaders(parts: Parts) -> Iterator[Any]:
    for name in ("val_dataloader", "test_dataloader", "train_dataloader"):
        for source in (parts.data, parts.module):
            with contextlib.suppress(MisconfigurationException), quiet():
                loader = None if source is None else getattr(source, name)()
                if loader is not None:
                    yield next(iter(loader), []) if isinstance(loader, list | tuple) else loader


def _evaluate(parts: Parts, batch: Any) -> object:
    user, module = parts.user, parts.module
    if user is not None and isinstance(module, NimbleModule):
        method = user.method("evaluate") if user.takes_batch("evaluate") else user.method("train")
        return method(batch) if method is not None else None
    return module.validation_step(batch, 0)


def _inputs_of(module: Any, batch: Any) -> Any:
    """What a LightningModule that is a model by itself is called with, where its evaluation does not."""
    example = getattr(module, "example_input_array", None)
    if isinstance(example, torch.Tensor):
        return example
    return batch[0] if isinstance(batch, list | tuple) else batch
