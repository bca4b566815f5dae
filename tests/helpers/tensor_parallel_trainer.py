"""A trainer whose layers are cut over the ranks of a mesh, and fits of it."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torchmetrics
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    PrepareModuleOutput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.nn.functional import gelu, scaled_dot_product_attention

from nimble_lightning.adapters import adapt
from nimble_lightning.settings import RunSettings
from nimble_lightning.trainer import NimbleTrainer

HEADS, WORDS = 2, 4
INTO = ("attention.query", "attention.key", "attention.value", "up")
OUT_OF = ("attention.out", "down")


class Attention(nn.Module):
    """Its heads are what is cut: a rank computes some of them, whole."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out, self.head = nn.Linear(width, width), width // HEADS

    def forward(self, x: Tensor) -> Tensor:
        heads = [
            layer(x).unflatten(-1, (-1, self.head)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        ]
        mixed: Tensor = self.out(scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.norm, self.attention, self.drop = nn.LayerNorm(width), Attention(width), nn.Dropout(drop)
        self.second, self.up = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.norm(x)))
        result: Tensor = x + self.down(gelu(self.up(self.second(x))))
        return result


class CutLayers(NimbleTrainer):
    """Attention and feed-forward are cut; the other norms and the head are whole on every rank.

    In double precision, and by default without dropout, so that the sums of a single process are the same.
    """

    def pre_process(
        self,
        *,
        samples: int = 38,
        width: int = 8,
        drop: float = 0.0,
        tokens: bool = False,
        sharded: bool = True,
    ) -> None:
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(samples, WORDS, width, generator=draw, dtype=torch.float64)
        self.train_data = self.eval_data = (x, x.sum((1, 2)), torch.arange(samples))
        self.model = nn.Sequential(Block(width, drop), nn.LayerNorm(width), nn.Linear(width, 1)).double()
        self.tokens, self.sharded = tokens, sharded
        self.count = torchmetrics.SumMetric()

    def configure_model(self) -> None:
        if (mesh := self.device_mesh) is None:
            return
        plan = {name: ColwiseParallel() for name in INTO} | {name: RowwiseParallel() for name in OUT_OF}
        parallelize_module(self.model[0], mesh["tensor_parallel"], plan)
        if mesh["data_parallel"].size() > 1 and self.sharded:
            fully_shard(self.model, mesh=mesh["data_parallel"])

    def errors(self, batch: Any) -> Tensor:
        x, y, _ = batch
        return (self.model(x).mean(1).squeeze(1) - y).square()

    def train(self, batch: Any) -> Any:
        errors = self.errors(batch)
        if not self.tokens:
            return errors.mean()
        weight = 1.0 + batch[2] % 3
        return (errors * weight).sum() / weight.sum(), weight.sum()

    def evaluate(self, batch: Any) -> dict[str, Any]:
        errors = self.errors(batch)
        self.count.update(len(errors))
        return {"loss": errors, "close": errors < 1.0, "samples": self.count}


class CutSequence(CutLayers):
    """Between layers a rank has but some of the words, so that norms have a summand of their gradients."""

    def configure_model(self) -> None:
        if (mesh := self.device_mesh) is None:
            return
        words, whole = Shard(1), Replicate()
        block, layers = self.model[0], mesh["tensor_parallel"]
        given = PrepareModuleInput(input_layouts=whole, desired_input_layouts=words, use_local_output=True)
        parallelize_module(block, layers, given)
        parallelize_module(
            block,
            layers,
            {name: SequenceParallel(use_local_output=True) for name in ("norm", "second")}
            | {name: ColwiseParallel(input_layouts=words) for name in INTO}
            | {name: RowwiseParallel(output_layouts=words) for name in OUT_OF},
        )
        parallelize_module(
            block, layers, PrepareModuleOutput(output_layouts=words, desired_output_layouts=whole)
        )


def fit(
    rank: int,
    mesh: tuple[int, int],
    settings: RunSettings,
    params: dict[str, Any],
    options: dict[str, Any],
    trainer_class: type[CutLayers] = CutLayers,
) -> tuple[list[float], dict[str, float]]:
    """The weights, whole, and the figures after an epoch on a mesh of ranks that have data and layers."""
    torch.manual_seed(0)
    module, loaders = adapt(trainer_class(), settings=settings, **params)
    devices = mesh[0] * mesh[1]
    trainer = L.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="auto" if devices == 1 else ModelParallelStrategy(*mesh),
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **options,
    )
    trainer.fit(module, datamodule=loaders)
    whole = [p.full_tensor() if isinstance(p, DTensor) else p for p in module.parameters()]
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return torch.cat([w.detach().flatten() for w in whole]).tolist(), figures
