"""`nimble-cli plan` says what a run would take before there is anything to run it on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing
from two_shards import measured

from nimble_lightning.cli.arguments import parse
from nimble_lightning.cli.request_plan import make_plan
from nimble_lightning.commands import main
from nimble_lightning.planning.layout import Layout, ParameterSize
from nimble_lightning.planning.peak_memory import StepModel, held

pytestmark = pytest.mark.filterwarnings("default")

BLOCKS = """
import torch
from torch import nn
from nimble_lightning import NimbleTrainer

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(),
                                   nn.Linear(4 * width, width))
    def forward(self, x):
        return x + self.inner(x)

class Blocks(NimbleTrainer):
    def pre_process(self, *, width: int = 256, depth: int = 4, length: int = 64):
        self.train_data = (torch.randn(32, length, 16), torch.randn(32, length, 1))
        blocks = [Block(width) for _ in range(depth)]
        self.model = nn.Sequential(nn.Linear(16, width), *blocks, nn.Linear(width, 1))
        # Its first weights are drawn, looked at, and were never there.
        assert self.model[0].weight.mean().shape == ()

    def train(self, batch):
        x, y = batch
        return nn.functional.mse_loss(self.model(x), y)

    SHARDED
"""
CONFIGURE = """def configure_model(self):
        from torch.distributed.fsdp import fully_shard
        for block in self.model[1:-1]:
            fully_shard(block)
        fully_shard(self.model)
"""
MODULE = """
import lightning as L
import torch

class Module(L.LightningModule):
    def __init__(self, *, width: int = 32, manual: bool = False):
        super().__init__()
        self.automatic_optimization = not manual
        self.layer = torch.nn.Linear(width, 1)
    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).mean()
        self.log("loss", loss)
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
    def train_dataloader(self):
        data = torch.utils.data.TensorDataset(torch.randn(24, self.layer.in_features))
        return torch.utils.data.DataLoader(data, batch_size=8)
"""
PLACES = """
import torch
from nimble_lightning import NimbleTrainer

class Places(NimbleTrainer):
    def pre_process(self):
        self.train_data = torch.randn(8, 4)
        self.model = torch.nn.Linear(4, 1)

    def train(self, batch):
        return self.model(batch).flatten()[(batch[:, 0] > 0).nonzero()].mean()
"""
ORIGINAL = """
from nimble_lightning import NimbleTrainer

class Original(NimbleTrainer):
    def pre_process(self, **kwargs): ...
    def train(self, **kwargs): ...
    def evaluate(self, **kwargs): ...
    def predict_and_show(self, **kwargs): ...
"""


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str]) -> Any:
    def planned(*words: str, source: str = BLOCKS, options: tuple[str, ...] = ("--json",)) -> tuple[int, Any]:
        Path("blocks.py").write_text(source.replace("SHARDED", ""))
        code = main.main(["plan", "blocks.py", *options, *words])
        said = capsys.readouterr()
        return code, (json.loads(said.out) if said.out and options else said.out + said.err)

    return planned


def test_a_thousand_ranks_are_planned_without_one(plan: Any) -> None:
    code, said = plan("lightning.num_nodes=128", "lightning.devices=8", "lightning.precision=bf16-mixed")
    assert code == 0
    strategies = {one["strategy"] for one in said["candidates"]}
    assert strategies == {"ddp", "fsdp", "fsdp per node"}
    parameters = 16 * 256 + 256 + 4 * (512 + 2 * 256 * 1024 + 1024 + 256) + 257
    assert said["parameters"] == parameters
    ddp = next(one for one in said["candidates"] if one["strategy"] == "ddp")
    assert ddp["memory"]["parameters"] == 4 * parameters
    assert ddp["memory"]["optimizer"] == 8 * parameters
    assert ddp["sent"]["all_reduce"] == 2 * (4 * parameters * 1023 // 1024)
    assert [one["micro_batch"] for one in said["candidates"][:6]] == [1, 2, 4, 8, 16, 32]


def test_what_is_recommended_can_be_typed(plan: Any) -> None:
    _, said = plan(
        "lightning.num_nodes=2", "lightning.devices=8", "params.width=4096", "params.depth=12", "--device=L4"
    )
    recommended = said["recommended"]
    assert recommended["strategy"].startswith("fsdp")
    words = [word.strip("'") for word in recommended["overrides"]]
    composed = make_plan(parse(["trainer=blocks.py", *words])).config
    assert "size_based_auto_wrap_policy" in composed.lightning.strategy.auto_wrap_policy._target_
    # Asked for like that, it is the same plan.
    _, again = plan(
        "lightning.num_nodes=2",
        "lightning.devices=8",
        "params.width=4096",
        "params.depth=12",
        "--device=L4",
        *words,
    )
    same = next(one for one in again["candidates"] if one["micro_batch"] == recommended["micro_batch"])
    assert same["memory"] == recommended["memory"]


def test_where_nothing_fits_it_says_by_how_much_and_what_would(plan: Any) -> None:
    wide = ("params.width=8192", "params.depth=12", "--device=L4", "lightning.devices=2")
    code, said = plan(*wide, options=())
    assert code == 1
    assert "Nothing fits: " in said
    assert "lacks at least" in said
    assert "lightning.num_nodes=" in said
    assert "lightning.strategy.cpu_offload=true" in said


@pytest.mark.slow
def test_recomputing_is_tried_where_activations_are_too_many(plan: Any) -> None:
    long = (
        "params.length=200_000",
        "params.depth=16",
        "data.batch_size=1",
        "--device=L4",
        "lightning.devices=1",
    )
    code, said = plan(*long)
    assert code == 1
    (change,) = [one for one in said["remedies"] if "gradient_checkpointing" in one["change"]]
    assert change["fits"]
    code, said = plan(*long, "model.gradient_checkpointing=true")
    assert code == 0
    assert said["recommended"]["peak"] == change["peak"]


def test_a_table_fits_a_terminal(plan: Any) -> None:
    code, said = plan("lightning.num_nodes=2", options=())
    assert code == 0
    assert "--device H100 is assumed" in said
    lines = said.splitlines()
    assert max(len(line) for line in lines if not line.startswith("Type: ")) <= 80


def test_units_are_those_of_the_trainers_own_configure_model(plan: Any) -> None:
    source = BLOCKS.replace("SHARDED", CONFIGURE)
    _, said = plan(
        "strategy=model_parallel",
        "lightning.strategy.tensor_parallel_size=1",
        "lightning.strategy.data_parallel_size=8",
        "lightning.devices=8",
        "data.batch_size=1",
        source=source,
    )
    (one,) = said["candidates"]
    block = 512 + 2 * 256 * 1024 + 1024 + 256
    rest = said["parameters"] - 4 * block
    assert one["strategy"] == "model_parallel"
    assert one["sent"]["all_gather"] == 4 * (2 * 4 * block + rest) * 7 // 8


def test_a_lightning_module_is_planned_as_it_is(plan: Any) -> None:
    code, said = plan(source=MODULE)
    assert code == 0
    (one,) = said["candidates"]
    assert (one["micro_batch"], one["memory"]["optimizer"]) == (8, 0)
    assert said["flops"] == 2 * 2 * 8 * 32


@pytest.mark.parametrize(
    ("source", "words", "said"),
    [
        (ORIGINAL, (), "does everything by itself"),
        (MODULE, ("params.manual=true",), "optimizes by hand"),
        (BLOCKS, ("--device=H1000",), "H1000 is not in the table"),
        (BLOCKS, ("--devise=H100",), "plan has no option --devise"),
        (BLOCKS, ("strategy=model_parallel", "lightning.devices=8"), "tensor_parallel_size=1"),
        (BLOCKS, ("params.widht=1",), "width"),
        (PLACES, (), "depend on values"),
    ],
    ids=["original", "by hand", "device", "option", "tensor parallel", "typo", "values"],
)
def test_what_cannot_be_planned_is_refused(plan: Any, source: str, words: tuple[str, ...], said: str) -> None:
    code, text = plan(*words, source=source, options=())
    assert code == 2
    assert said in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_two_real_ranks_hold_what_was_planned() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        ranks = pool.starmap(measured, [(rank, str(Path("store").absolute())) for rank in range(2)])
    shapes = {"0.weight": 64 * 63, "0.bias": 63, "1.weight": 63 * 10, "1.bias": 10}
    model = StepModel(tuple(ParameterSize(name, numel, 4, 8 * numel) for name, numel in shapes.items()))
    # FSDP2 cuts rows, so one rank has the odd one; the plan cuts elements, which is a row less at most.
    planned, rows = held(model, Layout(2, 2, 2, 2)), 4 * (64 + 63 + 1 + 1)
    assert sum(rank["parameters"] for rank in ranks) == sum(p.size for p in model.parameters)
    largest = max(ranks, key=lambda rank: rank["parameters"])
    assert planned.parameters <= largest["parameters"] <= planned.parameters + rows
    assert planned.optimizer <= largest["optimizer"] <= planned.optimizer + 2 * rows
    assert largest["gradients"] == largest["parameters"]
    assert torch.distributed.is_initialized() is False
