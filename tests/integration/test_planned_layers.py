"""A plan of layers that are cut over ranks, beside what two real ranks hold and send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tensor_parallel_trainer
import torch
import torch.distributed as dist
from tensor_parallel_trainer import WORDS, CutLayers, CutSequence
from torch.distributed._tools.mem_tracker import MemTracker
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.debug import CommDebugMode
from two_ranks import TwoRanks

from nimble_lightning.commands import main
from nimble_lightning.ops.sharded_tensors import held

pytestmark = pytest.mark.filterwarnings("default")
SAMPLES, WIDTH = 64, 128
BATCH = [f"data.batch_size={SAMPLES}", f"params.samples={SAMPLES}", f"params.width={WIDTH}"]
UNCUT = """
from nimble_lightning.testing.tiny import TinyTrainer

class Uncut(TinyTrainer):
    def configure_model(self): ...
"""


@pytest.fixture(scope="module")
def ranks() -> Iterator[TwoRanks]:
    pair = TwoRanks()
    yield pair
    pair.close()


def measured(rank: int, kind: type[CutLayers]) -> dict[str, Any]:
    """The bytes on a rank after a step, the most bytes within the next, and how often ranks met."""
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    trainer = kind()
    trainer.pre_process(samples=SAMPLES, width=WIDTH)
    names = ("data_parallel", "tensor_parallel")
    trainer.device_mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=names)
    trainer.configure_model()
    parameters = list(trainer.model.parameters())
    optimizer = torch.optim.AdamW(parameters, foreach=False)
    tracker = MemTracker()
    tracker.track_external(trainer.model, optimizer, *trainer.train_data)
    with CommDebugMode() as met:
        trainer.train(trainer.train_data).backward()
    gradients = _here(p.grad for p in parameters)
    optimizer.zero_grad()
    with tracker:
        for step in range(2):
            trainer.train(trainer.train_data).backward()
            optimizer.step()
            optimizer.zero_grad()
            if not step:
                tracker.reset_mod_stats()
    return {
        "parameters": _here(parameters),
        "gradients": gradients,
        "optimizer": _here(t for p in parameters for t in optimizer.state[p].values() if t.dim()),
        "peak": tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"],
        "met": {str(name).rpartition(".")[2]: often for name, often in met.get_comm_counts().items()},
    }


def _here(tensors: Any) -> int:
    return sum(held(tensor).nbytes for tensor in tensors)


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str]) -> Any:
    # Loaded anew: what fully_shard is given can be noted in no file that is there already.
    Path("cut.py").write_text(Path(tensor_parallel_trainer.__file__).read_text())

    def planned(*words: str, trainer: str = "cut.py:CutLayers") -> tuple[int, Any]:
        code = main.main(["plan", trainer, "--json", *words])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else said.err

    return planned


def over(data: int, layers: int, nodes: int = 1) -> list[str]:
    return [
        "strategy=model_parallel",
        f"lightning.devices={data * layers // nodes}",
        f"lightning.num_nodes={nodes}",
        f"lightning.strategy.data_parallel_size={data}",
        f"lightning.strategy.tensor_parallel_size={layers}",
        *BATCH,
    ]


@pytest.mark.parametrize("kind", [pytest.param(CutLayers, marks=pytest.mark.slow), CutSequence])
def test_two_ranks_hold_and_send_what_was_planned(ranks: TwoRanks, plan: Any, kind: type[CutLayers]) -> None:
    real, other = ranks.run(measured, kind)
    # When the buffer of a collective is given back is up to torch's threads.
    peaks = real.pop("peak"), other.pop("peak")
    assert real == other
    adam = ("optim._target_=torch.optim.AdamW", "+optim.foreach=false")
    code, said = plan(*over(1, 2), *adam, trainer=f"cut.py:{kind.__name__}")
    assert code == 0
    *_, halves, whole = said["candidates"]
    for what in ("parameters", "optimizer"):
        assert whole["memory"][what] == real[what]
    # With a second piece to come all gradients of the first are there.
    assert halves["memory"]["gradients"] == real["gradients"]
    assert peaks == pytest.approx((whole["peak"], whole["peak"]), rel=0.03)
    size, met = SAMPLES * WORDS * WIDTH * 8, real["met"]
    cut = met.get("all_gather_into_tensor", 0) + met.get("reduce_scatter_tensor", 0)
    assert whole["sent"]["activations"] == met.get("all_reduce", 0) * size + cut * size // 2 > 0


def test_what_is_cut_in_layers_is_cut_once_more_over_ranks_with_other_samples(plan: Any) -> None:
    _, alone = plan(*BATCH, "lightning.devices=1")
    (_, layers), (_, both) = plan(*over(1, 2)), plan(*over(8, 2, nodes=4))
    assert layers["parameters"] == both["parameters"] == alone["parameters"]
    one, cut, twice = (said["candidates"][-1] for said in (alone, layers, both))
    assert 0.5 < cut["memory"]["parameters"] / one["memory"]["parameters"] < 0.51
    assert cut["memory"]["parameters"] == pytest.approx(8 * twice["memory"]["parameters"], rel=0.01)
    # Each half of the heads, and of the numbers between two layers; norms are computed on both.
    assert layers["flops"] == both["flops"] < 0.51 * alone["flops"]
    assert twice["sent"]["activations"] == cut["sent"]["activations"]
    assert twice["sent"]["reduce_scatter"] == pytest.approx(cut["memory"]["parameters"] * 7 / 8, rel=0.01)


def test_ranks_that_share_layers_are_not_counted_as_if_they_had_samples(
    plan: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["plan", "cut.py:CutLayers", *over(2, 2)]
    assert main.main(words) == 0
    said = capsys.readouterr().out
    _, known = plan(*over(2, 2))
    rate = 2 * SAMPLES / known["recommended"]["seconds"]
    assert f"at most {rate:,.0f} samples/s on all ranks" in " ".join(said.split())


@pytest.mark.parametrize(
    ("words", "source", "said"),
    [
        (over(1, 8), UNCUT, "configure_model cuts no layer"),
        (over(2, 2), None, "fully_shard(self.model, mesh="),
        ([*over(1, 2), "lightning.devices=4"], None, "lightning.strategy.data_parallel_size=2"),
        ([*over(1, 3), "lightning.devices=4"], None, "cannot be cut into groups of 3"),
    ],
    ids=["nothing cut", "not sharded", "too few", "no divisor"],
)
def test_what_cannot_be_planned_says_what_to_type(
    plan: Any, words: list[str], source: str | None, said: str, tmp_path: Path
) -> None:
    make = plan
    if source is not None:
        (tmp_path / "uncut.py").write_text(source)
        words = [word for word in words if not word.startswith("params.width")]
        make = partial(plan, trainer=f"{tmp_path}/uncut.py")
    else:
        words = [*words, "params.sharded=false"]
    code, text = make(*words)
    assert code == 2
    assert said in text
    assert "Traceback" not in text
