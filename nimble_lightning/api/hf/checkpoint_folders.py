"""`checkpoint-N` folders: transformers' own files, whole or absent, and the position of our engine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints
from typing_extensions import override

from nimble_lightning.api.hf.hf_events import note_callbacks
from nimble_lightning.checkpoint import NimbleCheckpointIO
from nimble_lightning.errors import CheckpointError
from nimble_lightning.ranks import everyones

POSITION = "nimble_position.pt"
# Which transformers' files hold.
_ELSEWHERE = ("state_dict", "optimizer_states", "lr_schedulers")


def save_folder(hf: Any, parent: Path, trial: Any, fit: L.Trainer | None) -> None:
    """Write a checkpoint beside its place and move it there when all of it is on the disk.

    Args:
        hf: The HFTrainer that is saved.
        parent: The folder of all checkpoints.
        trial: Of a search, whose work is not counted.
        fit: Lightning's trainer, while it trains.
    """
    args, state = hf.args, hf.state
    place = parent / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
    partial = parent / f".{place.name}.partial"
    if hf.hp_search_backend is None and trial is None:
        hf.store_flos()
    if state.best_global_step:
        best = parent / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
        if best == place or best.exists():
            state.best_model_checkpoint = str(best)
    if args.should_save:
        shutil.rmtree(partial, ignore_errors=True)
    everyones(None)
    _write(hf, partial, fit)
    everyones(None)
    if args.should_save:
        _move(partial, place)
    everyones(None)
    if args.push_to_hub:
        hf._push_from_checkpoint(str(place))
    if args.should_save:
        rotate_checkpoints(
            output_dir=str(parent),
            save_total_limit=args.save_total_limit,
            best_model_checkpoint=state.best_model_checkpoint,
            use_mtime=True,
        )


class FolderIO(NimbleCheckpointIO):
    """Reads a `checkpoint-N` folder as the checkpoint that Lightning expects; commits as ever.

    Args:
        hf: The HFTrainer whose model has been given the weights of the folder already.
    """

    def __init__(self, hf: Any) -> None:
        super().__init__()
        self._model: Callable[[], Any] = lambda: hf.model

    @override
    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        folder = Path(path)
        if not (folder / TRAINER_STATE_NAME).is_file():
            return super().load_checkpoint(path, map_location, weights_only)
        if not (folder / POSITION).is_file():
            raise CheckpointError(
                f"{folder} has no {POSITION}: it was saved with save_only_model=True, or by transformers "
                "itself, and where its data stood is not known.\n"
                "Its weights are what from_pretrained gives; train from them without resume_from_checkpoint"
            )
        checkpoint: dict[str, Any] = torch.load(folder / POSITION, map_location="cpu", weights_only=True)
        weights = {f"model.{name}": value for name, value in self._model().state_dict().items()}
        optimizer = torch.load(folder / OPTIMIZER_NAME, map_location="cpu", weights_only=True)
        schedule = folder / SCHEDULER_NAME
        schedules = [torch.load(schedule, weights_only=True)] if schedule.is_file() else []
        return {
            **checkpoint,
            **dict(zip(_ELSEWHERE, (weights, [optimizer], schedules), strict=True)),
        }


def _write(hf: Any, folder: Path, fit: L.Trainer | None) -> None:
    hf.save_model(str(folder), _internal_call=True)
    if not hf.args.save_only_model:
        hf._save_optimizer_and_scheduler(str(folder))
        hf._save_rng_state(str(folder))
        if fit is not None:
            _save_position(fit, folder / POSITION)
    if hf.args.should_save:
        note_callbacks(hf)
        hf.state.save_to_json(str(folder / TRAINER_STATE_NAME))


def _save_position(fit: L.Trainer, path: Path) -> None:
    """Every rank must call this: each has random numbers of its own."""
    checkpoint = fit._checkpoint_connector.dump_checkpoint(weights_only=False)
    if fit.is_global_zero:
        kept = {name: value for name, value in checkpoint.items() if name not in _ELSEWHERE}
        torch.save(kept, path)


def _move(partial: Path, place: Path) -> None:
    for file in partial.rglob("*"):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    if place.exists():
        # A step that is trained again after a kill.
        shutil.rmtree(place)
    os.replace(partial, place)
