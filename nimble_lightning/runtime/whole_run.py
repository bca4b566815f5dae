"""Trainers whose `train` does everything itself: the original SDK's form. We stand around it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from nimble_lightning.adapters import UserTrainer
from nimble_lightning.runtime import showing
from nimble_lightning.runtime.folder import RunFolder


def complete(user: UserTrainer, returned: Any, folder: RunFolder) -> dict[str, float]:
    """Bring what `train` returned to its end; returns the final figures."""
    metrics = _train(user, returned, folder)
    evaluated = user.run("evaluate")
    if isinstance(evaluated, Mapping):
        metrics.update({k: float(v) for k, v in evaluated.items() if _is_number(v)})
    showing.show(user, returned if isinstance(returned, nn.Module) else None, folder)
    return metrics


def _train(user: UserTrainer, returned: Any, folder: RunFolder) -> dict[str, float]:
    started = time.monotonic()
    if _is_hugging_face_trainer(returned):
        output = returned.train(resume_from_checkpoint=user.context.get("resume_from"))
        metrics = {"global_step": output.global_step, "train_loss": output.training_loss, **output.metrics}
        if returned.eval_dataset is not None and user.method("evaluate") is None:
            metrics.update(returned.evaluate())
        return {k: v for k, v in metrics.items() if _is_number(v)}
    if isinstance(returned, nn.Module):
        if user.get("model") is None:
            user.object.model = returned
        torch.save(returned.state_dict(), folder.checkpoints / "trained.pt")
    return {"train_runtime": time.monotonic() - started}


def _is_hugging_face_trainer(value: Any) -> bool:
    return any(c.__module__.startswith("transformers.trainer") and c.__name__ == "Trainer" for c in type(value).__mro__)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.numel() == 1)
