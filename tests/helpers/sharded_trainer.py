"""A trainer whose model is cut up over two CPU ranks, runs of it, and digests of what they leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from killed_runs import digest
from torch import nn
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.fsdp import fully_shard

from nimble_lightning.loggers import read_metrics
from nimble_lightning.runs.job import Job
from nimble_lightning.testing.tiny import TinyTrainer


class Sharded(TinyTrainer):
    """Every linear layer is gathered by itself, the rest together."""

    def configure_model(self) -> None:
        for layer in self.model:
            if isinstance(layer, nn.Linear):
                fully_shard(layer)
        fully_shard(self.model)

    def predict_and_show(self) -> Iterator[tuple[str, Any]]:
        yield "the first three", self.model(self.eval_data[0][:3]).argmax(-1).tolist()


def sharded(folder: Path, *overrides: str, trainer: str = f"{__file__}:Sharded") -> Job:
    """A run that saves every third step."""
    GlobalHydra.instance().clear()
    with initialize_config_module("nimble_lightning.conf", version_base="1.3"):
        config = compose(
            "config",
            overrides=[
                "run_id=test",
                "callbacks.progress=null",
                "+lightning.enable_progress_bar=false",
                "callbacks.auto_retry.max_retries=50",
                "callbacks.auto_retry.save_every_n_steps=3",
                "+lightning.val_check_interval=5",
                "lightning.accelerator=cpu",
                "lightning.devices=2",
                "strategy=model_parallel",
                "lightning.strategy.data_parallel_size=2",
                "lightning.strategy.tensor_parallel_size=1",
                "data.batch_size=8",
                "schedule=cosine",
                *overrides,
            ],
        )
    return Job.from_config(config, trainer=trainer, folder=folder)


def saves(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints" / "steps").glob("step-*.ckpt"))


def causes(folder: Path) -> list[str]:
    return [attempt["cause"] for attempt in json.loads((folder / "run.json").read_text())["attempts"]]


def digests(folder: Path, scratch: Path) -> dict[str, str]:
    """Of weights and optimizer as one, whoever held which piece, and of all else at the end of a run."""
    last = folder / "checkpoints" / "steps" / saves(folder)[-1]
    dcp_to_torch_save(last, scratch / "whole.pt")
    pieces = torch.load(scratch / "whole.pt", weights_only=True)
    rest = torch.load(last / "meta.pt", weights_only=True)
    rows = [(row["step"], sorted(row["metrics"].items())) for row in read_metrics(folder / "metrics.jsonl")]
    return {
        "step": str(rest["global_step"]),
        "weights": digest(pieces.pop("state_dict")),
        "optimizer": digest([pieces, rest["lr_schedulers"]]),
        "losses": digest(sorted(rows, key=str)),
        "loader": digest(rest["NimbleData"]),
        "random": digest(rest["nimble"]["random"]),
    }
