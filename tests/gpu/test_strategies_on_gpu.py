"""Each strategy on one card: pieces and a resume change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.functional import cross_entropy

from nimble_lightning import NimbleTrainer
from nimble_lightning.adapters import adapt
from nimble_lightning.callbacks import ExactResume
from nimble_lightning.checkpoint import commit_shards
from nimble_lightning.settings import Clip, DataSettings, RunSettings
from nimble_lightning.worker.lightning_objects import made

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

NEEDS_DEEPSPEED = pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs deepspeed")
NAMES = [
    "ddp",
    "ddp_overlap",
    "ddp_static",
    "ddp_powersgd",
    "fsdp",
    "model_parallel",
    *(pytest.param(f"deepspeed_{kind}", marks=NEEDS_DEEPSPEED) for kind in ("1", "2", "3", "2_offload")),
]


class Small(NimbleTrainer):
    def pre_process(self) -> None:
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(96, 16, generator=draw)
        self.train_data = self.eval_data = (x, (x.sum(1) > 0).long())
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 2))

    def train(self, batch: Any) -> Tensor:
        return cross_entropy(self.model(batch[0]), batch[1])

    def evaluate(self, batch: Any) -> dict[str, Tensor]:
        return {"error": cross_entropy(self.model(batch[0]), batch[1], reduction="none")}


class Cut(Small):
    """By layers and by weights, with as many parts as there are cards: one."""

    def configure_model(self) -> None:
        mesh = init_device_mesh("cuda", (1, 1), mesh_dim_names=("data", "layer"))
        plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
        parallelize_module(self.model, mesh["layer"], plan)
        fully_shard(self.model, mesh=mesh["data"])


@pytest.fixture(autouse=True)
def no_group_left() -> Iterator[None]:
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def strategy(name: str) -> Any:
    with initialize_config_module("nimble_lightning.conf", version_base="1.3"):
        config = OmegaConf.to_container(compose("config", overrides=[f"strategy={name}"]).lightning)
    return made(config["strategy"])


class Saves(L.Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 3:
            trainer.save_checkpoint(self.path)


def fit(name: str, micro: Any, callbacks: list[L.Callback], ckpt_path: Path | None = None) -> list[float]:
    """The mean loss of all steps, and the error afterwards."""
    kind = Cut if name == "model_parallel" else Small
    data = DataSettings(batch_size=16, micro_batch_size=micro, shuffle=False)
    module, loaders = adapt(kind(), settings=RunSettings(data=data, clip=Clip(norm=0.5)))
    trainer = L.Trainer(
        accelerator="gpu",
        devices=1,
        strategy=strategy(name),
        max_epochs=1,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    commit_shards(trainer.strategy)
    trainer.fit(module, datamodule=loaders, ckpt_path=ckpt_path, weights_only=True)
    return [module.running.mean_loss, float(trainer.callback_metrics["error"])]


@pytest.mark.parametrize("name", NAMES)
def test_pieces_and_a_resume_change_nothing(name: str, tmp_path: Path) -> None:
    plain = fit("auto", "auto", [])
    path = tmp_path / "three.ckpt"
    cut = fit(name, 5, [ExactResume(), Saves(path)])
    assert cut == pytest.approx(plain, rel=1e-4)
    assert fit(name, 5, [ExactResume()], path) == pytest.approx(cut, rel=1e-6)
