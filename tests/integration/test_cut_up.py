"""FSDP and DeepSpeed on two ranks: the numbers of DDP, kills, and checkpoints that may hold no code.

Both run on CPUs as well; it is Lightning, or a look for a device, that asks for a GPU and is not asked here.
"""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess
from textwrap import dedent
from typing import Any

import pytest
import torch
from forked_command import run
from killed_runs import faults
from safetensors.torch import load_file

from nimble_lightning.checkpoint.file_names import FOLDER_MANIFEST
from nimble_lightning.checkpoint.integrity import verify
from nimble_lightning.checkpoint.position import RunFacts
from nimble_lightning.checkpoint.sharded_folders import seal_folder
from nimble_lightning.commands import main

needs_deepspeed = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed"),
]
STAGES = [pytest.param(f"stage={stage}", marks=needs_deepspeed) for stage in (1, 2, 3)]

ON_CPU = """
import os
os.environ["DS_ACCELERATOR"] = "cpu"
import torch
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from torch.distributed.fsdp import FullyShardedDataParallel

class FSDP(FSDPStrategy):
    def _setup_model(self, model):
        real = FullyShardedDataParallel.__init__

        def on_cpu(self, *args, **kwargs):
            real(self, *args, **{**kwargs, "device_id": torch.device("cpu")})

        FullyShardedDataParallel.__init__ = on_cpu
        try:
            return super()._setup_model(model)
        finally:
            FullyShardedDataParallel.__init__ = real

class DeepSpeed(DeepSpeedStrategy):
    def setup_environment(self):
        super(DeepSpeedStrategy, self).setup_environment()

    def setup_distributed(self):
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    @property
    def root_device(self):
        # Which of the devices: DeepSpeed wants to know.
        return torch.device("cpu", self.local_rank)
"""
TRAINER = """
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from nimble_lightning import NimbleTrainer

class Small(NimbleTrainer):
    def pre_process(self):
        x = torch.randn(90, 16, generator=torch.Generator().manual_seed(0))
        self.train_data = self.eval_data = (x, (x.sum(1) > 0).long())
        self.model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Dropout(0.1), nn.Linear(32, 2))

    def train(self, batch):
        return cross_entropy(self.model(batch[0]), batch[1])

    def evaluate(self, batch):
        return {"loss": cross_entropy(self.model(batch[0]), batch[1], reduction="none")}
"""
SETTINGS = [
    "trainer=my_trainer.py",
    "lightning.accelerator=cpu",
    "lightning.devices=2",
    "lightning.max_epochs=4",
    "data.batch_size=16",
    "data.micro_batch_size=5",
    "clip.norm=0.5",
    "schedule=cosine",
    "callbacks.progress=null",
    "callbacks.auto_retry.save_every_n_steps=2",
    "report=false",
]
RUNS = Path("outputs/my_trainer")


@pytest.fixture(autouse=True)
def files() -> None:
    Path("on_cpu.py").write_text(dedent(ON_CPU))
    Path("my_trainer.py").write_text(dedent(TRAINER))


def train(name: str, kind: str, *more: str) -> CompletedProcess[str]:
    """A run under `ddp`, or cut up: `stage=N` by DeepSpeed, `state_dict_type=sharded` by FSDP."""
    engine = "DeepSpeed" if kind.startswith("stage") else "FSDP"
    cut_up = [f"+lightning.strategy._target_=on_cpu.{engine}", f"+lightning.strategy.{kind}"]
    chosen = ["strategy=ddp"] if kind == "ddp" else cut_up
    return run(*SETTINGS, *chosen, f"run_id={name}", *more)


def outcome(name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Record and best weights of a run."""
    folder = RUNS / name
    record = json.loads((folder / "run.json").read_text())
    exported = folder / "best"
    if not exported.exists():
        # Under FSDP nobody had all of them.
        exported = Path(name).absolute()
        assert (
            main.main(["export", str(folder), "--to", "safetensors", "--out", str(exported), "--trust"]) == 0
        )
    return record, load_file(exported / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["state_dict_type=sharded", *STAGES])
def test_it_trains_as_ddp_does_and_a_kill_changes_no_bit(kind: str) -> None:
    for name, strategy, more in [
        ("ddp", "ddp", []),
        ("calm", kind, faults("")),
        ("killed", kind, faults("kill@step=5,rank=1,attempt=1")),
    ]:
        done = train(name, strategy, *more)
        assert done.returncode == 0, done.stdout + done.stderr
    (ddp, theirs), (calm, ours), (killed, again) = (outcome(name) for name in ("ddp", "calm", "killed"))
    assert calm["metrics"]["val_loss"] == pytest.approx(ddp["metrics"]["val_loss"], rel=1e-6)
    assert theirs.keys() == ours.keys()
    for name, weight in ours.items():
        assert torch.allclose(weight, theirs[name], atol=1e-6)
        assert torch.equal(weight, again[name])
    assert [attempt["cause"] for attempt in killed["attempts"]] == ["killed", "finished"]
    assert killed["attempts"][1]["first_step"] == 4
    assert killed["metrics"]["val_loss"] == calm["metrics"]["val_loss"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["state_dict_type=sharded", STAGES[0], STAGES[2]])
def test_a_compiled_model_goes_through_in_pieces_too(kind: str) -> None:
    # DeepSpeed refuses to accumulate, since it does not know how much is to come.
    more = [] if kind.startswith("stage") else ["lightning.accumulate_grad_batches=2"]
    for name, strategy in (("ddp", "ddp"), ("cut-up", kind)):
        done = train(name, strategy, "model.compile=true", *more)
        assert done.returncode == 0, done.stdout + done.stderr
    (ddp, theirs), (cut_up, ours) = outcome("ddp"), outcome("cut-up")
    assert cut_up["metrics"]["val_loss"] == pytest.approx(ddp["metrics"]["val_loss"], rel=1e-5)
    assert all(torch.allclose(weight, theirs[name], atol=1e-5) for name, weight in ours.items())


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("code-has-run",)


@pytest.mark.parametrize("kind", STAGES[1:])
def test_a_checkpoint_that_would_run_code_is_not_read(kind: str) -> None:
    words = [*faults("raise@step=5"), "callbacks.auto_retry.max_retries=0"]
    assert train("some", kind, *words).returncode == 1
    newest = max((RUNS / "some/checkpoints/steps").glob("*.ckpt"))
    manifest = verify(newest)
    part = next(newest.glob("checkpoint/*rank_1_*optim*"))
    torch.save({**torch.load(part, weights_only=False), "more": Evil()}, part)
    # By somebody who knows how manifests are made.
    (newest / FOLDER_MANIFEST).unlink()
    seal_folder(newest, RunFacts(step=manifest.step, run_id=manifest.run_id))
    done = train("some", kind, *words)
    assert done.returncode == 1
    assert "does not load with weights_only=True" in done.stdout + done.stderr
    assert not Path("code-has-run").exists()
