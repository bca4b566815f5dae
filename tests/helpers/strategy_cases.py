"""Fits on two gloo ranks under each strategy, and the weights they come to."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from omegaconf import OmegaConf
from test_two_ranks import Regression
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor

from nimble_lightning.adapters import adapt
from nimble_lightning.adapters.distributed.deepspeed import Engine
from nimble_lightning.adapters.distributed.gradient_exchange import Averaged
from nimble_lightning.adapters.global_step import Backward, GlobalStep, PieceLoss, Pieces, trainable
from nimble_lightning.callbacks import ExactResume
from nimble_lightning.ranks import world_size
from nimble_lightning.settings import DataSettings, ModelSettings, RunSettings
from nimble_lightning.worker.lightning_objects import made


def strategy(name: str) -> Any:
    """The one of that name in conf/strategy; but what is cut up is cut in two, and PowerSGD starts soon."""
    if name == "model_parallel":
        return ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    GlobalHydra.instance().clear()
    with initialize_config_module("nimble_lightning.conf", version_base="1.3"):
        config = OmegaConf.to_container(compose("config", overrides=[f"strategy={name}"]).lightning)
    asked = config["strategy"]
    if name == "ddp_powersgd":
        asked["ddp_comm_state"]["start_powerSGD_iter"] = 2
    built = made(asked)
    if isinstance(built, DDPStrategy) and name == "ddp_overlap":
        built._ddp_kwargs["bucket_cap_mb"] = 1
    return built


class Sharded(Regression):
    def configure_model(self) -> None:
        fully_shard(self.model)


class Wide(Regression):
    """Enough weights for PowerSGD to leave something out."""

    def pre_process(self, *, samples: int) -> None:
        super().pre_process(samples=samples)
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 64), nn.Linear(64, 1)).double()


class Partly(Regression):
    """One layer is never used; AdamW would shrink what it is given a gradient of zeros for."""

    def pre_process(self, *, samples: int) -> None:
        super().pre_process(samples=samples)
        self.spare = nn.Linear(2, 2).double()
        nn.init.constant_(self.spare.weight, 0.5)
        nn.init.constant_(self.spare.bias, 0.5)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(
            [*self.model.parameters(), *self.spare.parameters()], lr=0.1, weight_decay=0.5
        )


class Normed(Regression):
    def pre_process(self, *, samples: int) -> None:
        super().pre_process(samples=samples)
        self.eval_data = self.train_data
        self.model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)).double()

    def evaluate(self, batch: Any) -> dict[str, Tensor]:
        return {"error": (self.model(batch[0]) - batch[1]).square().squeeze(1)}


class _RunsOut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor) -> Tensor:
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")


class OutInBackward(Regression):
    def train(self, batch: Any) -> Tensor:
        return _RunsOut.apply(super().train(batch))  # type: ignore[no-any-return]


def fit(
    rank: int,
    devices: int,
    name: str,
    trainer_class: type[Regression],
    data: DataSettings,
    options: dict[str, Any],
    params: dict[str, Any],
    ckpt_path: str | None = None,
) -> list[float]:
    """The weights, whole, and then the buffers after training."""
    options = dict(options)
    settings = RunSettings(data=data, model=ModelSettings(compile=options.pop("compile", False)))
    module, loaders = adapt(trainer_class(), settings=settings, **params)
    trainer = L.Trainer(
        **{
            "accelerator": "cpu",
            "devices": devices,
            "strategy": strategy(name),
            "max_epochs": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
            **options,
        }
    )
    trainer.fit(module, datamodule=loaders, ckpt_path=ckpt_path, weights_only=True)
    values = [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]
    whole = [v.full_tensor() if isinstance(v, DTensor) else v for v in values]
    return [float(x) for x in torch.cat([v.detach().flatten() for v in whole])]


class SavesAt(L.Callback):
    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def resumed(rank: int, name: str, folder: str) -> tuple[list[float], list[float], list[float]]:
    """The weights of a run that never stopped, of one resumed in its middle, and of one step."""
    path = Path(folder) / f"{name}.ckpt"
    data = DataSettings(batch_size=4, micro_batch_size=2)
    params = {"samples": 60}
    straight = fit(rank, 2, name, Wide, data, {"callbacks": [ExactResume(), SavesAt(4, path)]}, params)
    again = fit(rank, 2, name, Wide, data, {"callbacks": [ExactResume()]}, params, str(path))
    short = fit(rank, 2, name, Wide, data, {"max_steps": 1}, params)
    return straight, again, short


def error_of(rank: int, name: str, trainer_class: type[Regression]) -> str:
    """What a fit fails with."""
    try:
        fit(rank, 2, name, trainer_class, DataSettings(batch_size=4), {}, {"samples": 16})
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


class _Engine:
    """Averages over ranks at the boundary it was told of, as DeepSpeed's does."""

    boundary = False

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.optimizer = SimpleNamespace(clear_backward_seen_flag=lambda: None)

    def set_gradient_accumulation_boundary(self, boundary: bool) -> None:
        self.boundary = boundary

    def backward(self, loss: Tensor) -> None:
        loss.backward()
        if self.boundary:
            for parameter in self.model.parameters():
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= world_size()


def one_step(rank: int, kind: str, sizes: tuple[int, int], tokens: bool = False) -> list[float]:
    """The weights after a step that Lightning would not do without a GPU, in pieces of two samples."""
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(sum(sizes), 3, generator=draw, dtype=torch.float64).split(sizes)[rank]
    model: nn.Module = nn.Linear(3, 1).double()
    nn.init.constant_(model.weight, 0.5)
    nn.init.zeros_(model.bias)
    engine = _Engine(model)
    if kind == "fsdp":
        model = FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))
    parameters = trainable(model)
    exchange = (
        Averaged(parameters, Tensor.backward, 2)
        if kind == "fsdp"
        else Engine(parameters, engine.backward, 2, strategy=SimpleNamespace(deepspeed_engine=engine))
    )

    def train(piece: Tensor) -> Any:
        loss = (model(piece) - piece.sum(1, keepdim=True)).square().mean()
        return (loss, 3 * len(piece)) if tokens else loss

    step = GlobalStep(Backward(PieceLoss(train), Pieces(2), exchange, lambda: None), model, redoable=False)
    optimizer = torch.optim.SGD(parameters, lr=0.05)
    step.run(x, True, optimizer.zero_grad)
    optimizer.step()
    if kind == "fsdp":
        with FullyShardedDataParallel.summon_full_params(model):
            return torch.cat([p.flatten() for p in model.parameters()]).tolist()
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()


def expected_step(sizes: tuple[int, int]) -> list[float]:
    """What it should come to."""
    x = torch.randn(sum(sizes), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    residual = 0.5 * x.sum(1) - x.sum(1)
    slope = 2 * (residual[:, None] * x).mean(0)
    return [*(0.5 - 0.05 * slope).tolist(), float(-0.05 * 2 * residual.mean())]
