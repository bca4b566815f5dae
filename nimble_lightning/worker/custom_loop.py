"""Trainers whose `train` does everything itself: the original SDK's form. We stand around it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nimble_lightning.adapters import UserTrainer
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.metric_values import not_finite
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.settings import CallbackSettings

log = logging.getLogger(__name__)

# What the Hugging Face Trainer writes last into a checkpoint: without it, the checkpoint is not whole.
_LAST_FILE = "trainer_state.json"


def train(user: UserTrainer, folder: RunFolder) -> Any:
    """Call `train` once; on a retry it is told of the newest checkpoint that it left in the run folder."""
    if user.context.get("resume_from") is None:
        user.context["resume_from"] = _newest(folder.path.glob(f"**/checkpoint-*/{_LAST_FILE}"), folder)
    return user.run("train")


def say_unheard(user: UserTrainer, returned: Any, settings: Sequence[str]) -> None:
    """Settings that only a fit of Lightning's obeys. It is too late to refuse them once `train` has trained.

    Raises:
        RequestError: What came back is still to be trained.
    """
    if not settings:
        return
    kind = type(returned).__name__
    why = f"{user.name}.train returned a {kind}, which has settings of its own"
    if _is_hugging_face_trainer(returned):
        raise RequestError(
            f"{settings[0]} would change nothing: {why}\nGive it what it is to use as params.NAME"
        )
    log.warning("%s changed nothing: %s.train trained by itself", ", ".join(settings), user.name)


def complete(user: UserTrainer, returned: Any, folder: RunFolder, rank: int) -> dict[str, float]:
    """Bring what `train` returned to its end and evaluate it; returns the final figures."""
    began = time.monotonic()
    metrics: dict[str, float] = {}
    if _is_hugging_face_trainer(returned):
        metrics = _numbers(_train_hugging_face(returned, folder, evaluate=user.method("evaluate") is None))
    elif isinstance(returned, nn.Module):
        if user.get("model") is None:
            user.object.model = returned
        if rank == 0:
            torch.save(returned.state_dict(), folder.checkpoints / "trained.pt")
    elif isinstance(returned, Mapping):
        metrics = _numbers(returned)
    elif returned is not None:
        log.warning("train returned a %s, which is not used", type(returned).__name__)
    return {"train_runtime": time.monotonic() - began, **metrics, **evaluated(user)}


def refuse_spoilt(metrics: Mapping[str, float], callbacks: CallbackSettings) -> None:
    """As `callbacks.non_finite` does where there is a Trainer of Lightning's."""
    if not callbacks.block("non_finite"):
        return
    losses = {name: float(value) for name, value in metrics.items() if name.endswith("loss")}
    if odd := not_finite(losses):
        raise FloatingPointError(f"{odd}; callbacks.non_finite=null takes it as it is")


def evaluated(user: UserTrainer) -> dict[str, float]:
    """What `evaluate`, called once without a batch, returned in numbers."""
    if user.takes_batch("evaluate"):
        log.warning(
            "evaluate takes a batch, and there are none where train does everything itself: not called"
        )
        return {}
    return _numbers(user.run("evaluate"))


def _train_hugging_face(trainer: Any, folder: RunFolder, *, evaluate: bool) -> dict[str, Any]:
    resume_from = _newest(Path(trainer.args.output_dir).glob(f"checkpoint-*/{_LAST_FILE}"), folder)
    if not Path(trainer.args.output_dir).resolve().is_relative_to(folder.path):
        log.warning(
            "checkpoints go to %s; TrainingArguments(output_dir=kwargs['run_folder']) keeps them in the run",
            trainer.args.output_dir,
        )
    output = trainer.train(resume_from_checkpoint=resume_from)
    metrics = {"global_step": output.global_step, "train_loss": output.training_loss, **output.metrics}
    if evaluate and trainer.eval_dataset is not None:
        metrics.update(trainer.evaluate())
    return metrics


def _newest(markers: Iterable[Path], folder: RunFolder) -> str | None:
    """The checkpoint with the most steps that this run, not an earlier one in the same place, wrote."""
    started = read_json(folder.run).get("started", float("inf"))
    steps = {
        path.parent: read_json(path).get("global_step") for path in markers if path.stat().st_mtime >= started
    }
    whole = [path for path, step in steps.items() if path.name == f"checkpoint-{step}"]
    return str(max(whole, key=lambda path: steps[path] or 0)) if whole else None


def _is_hugging_face_trainer(value: Any) -> bool:
    classes = type(value).__mro__
    return any(c.__module__.startswith("transformers.trainer") and c.__name__ == "Trainer" for c in classes)


def _numbers(values: Any) -> dict[str, float]:
    return {k: v for k, v in values.items() if _is_number(v)} if isinstance(values, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.numel() == 1)
