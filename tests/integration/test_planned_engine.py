"""What a plan says that DeepSpeed holds, beside what its engines hold on two CPU ranks."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from forked_command import run
from test_cut_up import ON_CPU
from torch import nn

from nimble_lightning.planning.layout import ParameterSize, share
from nimble_lightning.planning.machine import GIB, Machine
from nimble_lightning.planning.peak_memory import StepModel, held
from nimble_lightning.planning.strategies import Setting, option

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed"),
]
# One of the weights is large enough for the third stage not to keep it gathered.
WIDE, NARROW = 400, 100
TRAINER = f"""
import torch
from torch import nn
from nimble_lightning import NimbleTrainer

class Plain(NimbleTrainer):
    def pre_process(self):
        self.train_data = (torch.randn(64, {NARROW}), torch.randn(64, 1))
        layers = nn.Linear({NARROW}, {WIDE}), nn.Linear({WIDE}, {WIDE}), nn.Linear({WIDE}, 1)
        self.model = nn.Sequential(*layers)

    def train(self, batch):
        out = self.model(batch[0].to(self.model[0].weight.dtype))
        return nn.functional.mse_loss(out.float(), batch[1])
"""
LOOK = """
import json
import lightning as L
import torch
from torch.utils._pytree import tree_leaves

def here(*owners):
    found = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tree_leaves(owners)
             if isinstance(t, torch.Tensor) and t.dim()}
    return sum(found.values())

def buckets(engine):
    return sum(here(bucket.buffer) for bucket in engine.ipg_buckets.values())

class Look(L.Callback):
    found, passing = None, 0

    def on_train_start(self, trainer, pl_module):
        engine = trainer.strategy.deepspeed_engine.optimizer

        def look(gradient):
            self.passing = buckets(engine)

        pl_module.model[0].weight.register_hook(look)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == 1:
            engine = trainer.strategy.deepspeed_engine.optimizer
            first = hasattr(engine, "bit16_groups_flat")
            self.found = {
                "parameters": here(engine.bit16_groups_flat if first else engine.lp_param_buffer),
                "gathered": 0 if first else here([p.data for p in engine.persistent_parameters]),
                "gradients": here(engine.averaged_gradients),
                "optimizer": here(
                    engine.single_partition_of_fp32_groups if first else engine.fp32_partitioned_groups_flat,
                    [list(state.values()) for state in engine.optimizer.state.values()],
                ),
                "buckets": [self.passing, buckets(engine)],
            }

    def on_fit_end(self, trainer, pl_module):
        with open(f"found-{trainer.global_rank}.json", "w") as file:
            json.dump(self.found, file)
"""


def planned(stage: int, precision: str) -> tuple[dict[str, int], int]:
    """What a rank holds between two passes with all gradients, and the largest of the parameters."""
    sizes = {"0.weight": NARROW * WIDE, "0.bias": WIDE, "1.weight": WIDE**2, "1.bias": WIDE}
    sizes |= {"2.weight": WIDE, "2.bias": 1}
    whole = StepModel(tuple(ParameterSize(name, size, 4, 8 * size) for name, size in sizes.items()))
    two = Machine("H100", 80 * GIB, 3.35e12, 450e9, 50e9, 2, 1)
    layout = option(f"deepspeed_stage_{stage}", Setting(nn.Linear(1, 1), two, precision, ours=True)).layout
    model = whole.under(layout)
    found = held(model, layout)
    gradients = sum(share(p.gradient, layout.gradients_over) for p in model.parameters)
    return {
        "parameters": found.parameters,
        "gathered": found.gathered,
        "optimizer": found.optimizer,
        "gradients": gradients,
    }, max(p.size for p in model.parameters)


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_an_engine_holds_what_was_planned(stage: int, precision: str) -> None:
    for name, source in (("on_cpu", ON_CPU), ("plain", TRAINER), ("look", LOOK)):
        Path(f"{name}.py").write_text(source)
    done = run(
        "trainer=plain.py",
        "lightning.accelerator=cpu",
        "lightning.devices=2",
        "lightning.max_epochs=1",
        f"lightning.precision={precision}",
        "data.batch_size=8",
        "callbacks.progress=null",
        "report=false",
        "+lightning.strategy._target_=on_cpu.DeepSpeed",
        f"+lightning.strategy.stage={stage}",
        "+lightning.strategy.reduce_bucket_size=50000",
        "+callbacks.look._target_=look.Look",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ranks: list[dict[str, Any]] = [json.loads(Path(f"found-{rank}.json").read_text()) for rank in range(2)]
    print(ranks)
    plan, largest = planned(stage, precision)
    few = 64
    for real in ranks:
        for what in ("parameters", "gathered", "optimizer"):
            assert plan[what] == pytest.approx(real[what], abs=few), what
    # The first stages have room for the whole of a parameter that lies across a cut.
    across = 0 if stage == 3 else largest
    most = max(real["gradients"] for real in ranks)
    assert plan["gradients"] - few <= most <= plan["gradients"] + across + few
    # In the third stage there is one bucket at all times, in the others there are two during a pass.
    bucket = 50_000 * (2 if precision == "bf16-true" else 4)
    assert [real["buckets"] for real in ranks] == [[bucket, bucket] if stage == 3 else [2 * bucket, 0]] * 2
