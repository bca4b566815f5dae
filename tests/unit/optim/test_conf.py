"""Every file in conf/optim and conf/schedule builds, trains, and resumes as if never stopped."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nimble_lightning.optim import build_optimizer, build_schedule

CONF = Path(__file__).parents[3] / "conf"
OPTIMIZERS = sorted(CONF.glob("optim/*.yaml"))
SCHEDULES = sorted(CONF.glob("schedule/*.yaml"))
STEPS = 40


class Run:
    """A model, its optimizer and its schedule, as two settings files ask for them."""

    def __init__(self, optim: Path, schedule: Path, **settings: Any) -> None:
        torch.manual_seed(0)
        layers = [nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.LayerNorm(16), nn.Linear(16, 2)]
        self.model = nn.Sequential(*layers)
        self.optimizer = build_optimizer({"model": self.model}, OmegaConf.load(optim), lr=0.01)
        asked = {**OmegaConf.load(schedule), **settings}
        self.schedule = build_schedule(self.optimizer, asked, total_steps=STEPS)
        self.inputs = torch.randn(32, 6)
        self.targets = self.inputs[:, :2].sin()

    def step(self) -> Tensor:
        loss = nn.functional.mse_loss(self.model(self.inputs), self.targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(1.0)
        else:
            self.schedule.step()
        return loss.detach()

    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}

    def save(self) -> io.BytesIO:
        file = io.BytesIO()
        torch.save({name: part.state_dict() for name, part in self.parts().items()}, file)
        file.seek(0)
        return file

    def load(self, file: io.BytesIO) -> None:
        state = torch.load(file, weights_only=True)
        for name, part in self.parts().items():
            part.load_state_dict(state[name])


def pairs() -> Iterator[Any]:
    """All of them, of which so many are quick that each optimizer and each schedule is in one."""
    most = max(len(OPTIMIZERS), len(SCHEDULES))
    quick = {(OPTIMIZERS[n % len(OPTIMIZERS)], SCHEDULES[n % len(SCHEDULES)]) for n in range(most)}
    for pair in product(OPTIMIZERS, SCHEDULES):
        name = "-".join(path.stem for path in pair)
        yield pytest.param(*pair, id=name, marks=[] if pair in quick else pytest.mark.slow)


@pytest.mark.parametrize(("optim", "schedule"), list(pairs()))
def test_every_pair_trains_and_continues_bit_by_bit(optim: Path, schedule: Path) -> None:
    settings = {"warmup": 12}
    if schedule.stem == "plateau":
        settings["patience"] = 3
    through = Run(optim, schedule, **settings)
    first = through.step()
    for _ in range(STEPS // 4):
        through.step()
    resumed = Run(optim, schedule, **settings)
    resumed.load(through.save())
    for _ in range(STEPS // 2):
        assert torch.equal(through.step(), resumed.step())
    assert through.step() < first
    resumed.step()
    assert _same(through.optimizer.state_dict(), resumed.optimizer.state_dict())
    assert _same(through.schedule.state_dict(), resumed.schedule.state_dict())
    assert _same(through.model.state_dict(), resumed.model.state_dict())


@pytest.mark.parametrize("optim", OPTIMIZERS, ids=lambda path: path.stem)
def test_the_rate_left_open_is_the_trainers(optim: Path) -> None:
    run = Run(optim, CONF / "schedule" / "constant.yaml")
    assert {group["lr"] for group in run.optimizer.param_groups} == {0.01}


def test_an_extended_run_follows_its_longer_curve() -> None:
    path = CONF / "schedule" / "linear.yaml"
    short, longer = Run(OPTIMIZERS[0], path), Run(OPTIMIZERS[0], path, total_steps=2 * STEPS)
    for _ in range(STEPS):
        short.step()
    longer.load(short.save())
    longer.step()
    assert longer.schedule.get_last_lr()[0] == pytest.approx(0.01 * (1 - (STEPS + 1) / (2 * STEPS)))


@pytest.mark.parametrize(
    "path", [*OPTIMIZERS, *SCHEDULES], ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_every_setting_has_its_reason_beside_it(path: Path) -> None:
    assert path.read_text().startswith("# ")
    assert "_target_" in OmegaConf.load(path)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
