"""Whether one process can use a model by itself. With two ranks: test_sharded_runs.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

from nimble_lightning.worker.show import gather


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def test_a_model_that_is_not_cut_up_is_left_as_it_is() -> None:
    whole = model()
    before = dict(whole.named_parameters())
    assert gather(whole)
    assert all(before[name] is parameter for name, parameter in whole.named_parameters())


@pytest.mark.usefixtures("alone")
def test_cut_up_by_fsdp_it_is_whole_and_stays_whole() -> None:
    cut = model()
    expected = cut(torch.ones(1, 4))
    fully_shard(cut[0])
    fully_shard(cut)
    cut(torch.ones(1, 4))
    assert any(isinstance(p, DTensor) for p in cut.parameters())
    assert gather(cut)
    for _ in range(2):
        assert torch.equal(cut(torch.ones(1, 4)), expected)
        assert not any(isinstance(p, DTensor) for p in cut.parameters())


@pytest.mark.usefixtures("alone")
def test_layers_that_are_cut_in_themselves_stay_so() -> None:
    mesh = init_device_mesh("cpu", (1,))
    assert not gather(parallelize_module(model(), mesh, {"0": ColwiseParallel()}))
