"""A trained model evaluated and asked again, from its folder alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from forked_command import Command

import nimble_lightning as nl
from nimble_lightning.commands.main import main
from nimble_lightning.errors import CheckpointError, RequestError

TRAINER = """
from pathlib import Path
import torch
from nimble_lightning import NimbleTrainer

class Line(NimbleTrainer):
    def pre_process(self, *, data: str | None = None, shift: float = 0.0, noisy: bool = False):
        x = torch.linspace(-1, 1, 22)[:, None]
        self.train_data = (x, 2 * x)
        held_out = x if data is None else torch.tensor([[float(t)] for t in Path(data).read_text().split()])
        if noisy:
            held_out = held_out + torch.randn(len(held_out), 1)
        self.eval_data = (held_out + shift, 2 * held_out)
        self.test_data = (x[:7] / 3, x[:7])
        self.model = torch.nn.Linear(1, 2)

    def train(self, batch):
        return (self.model(batch[0]) - batch[1]).square().mean()

    def evaluate(self, batch):
        x, y = batch
        error = (self.model(x) - y).square().mean(1)
        return {"loss": error, "near": error < 0.5}

    def predict(self, batch):
        return {"x": batch[0][:, 0], "y": self.model(batch[0])}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    (place / "line.py").write_text(TRAINER)
    result = nl.run(
        f"{place}/line.py", params={"noisy": True}, run_id="one", output_dir=f"{place}/outputs",
        lightning={"max_epochs": 3, "accelerator": "cpu"}, data={"batch_size": 4, "eval_batch_size": 5},
        optim={"lr": 0.05}, launch="inline", export=None, report=False,
    )  # fmt: skip
    return result.folder


def figures_of(run: Path) -> dict[str, float]:
    metrics: dict[str, float] = json.loads((run / "run.json").read_text())["metrics"]
    return {name: metrics[name] for name in ("val_loss", "near", "test_loss", "test_near")}


def weights_of(run: Path) -> tuple[torch.Tensor, torch.Tensor]:
    model = nl.load(run, trust=True)
    return model.weight.detach(), model.bias.detach()


def test_a_run_is_evaluated_to_the_very_figures_that_it_ended_with(run: Path) -> None:
    random = torch.get_rng_state()
    assert nl.evaluate(run, trust=True) == figures_of(run)
    assert torch.equal(torch.get_rng_state(), random), "random numbers outside go on as they were"


@pytest.mark.slow
def test_a_run_of_two_ranks_that_was_killed_is_evaluated_on_one_device(run: Path, place: Path) -> None:
    words = [
        f"trainer={place}/line.py", "run_id=two", f"output_dir={place}/outputs", "lightning.max_epochs=40",
        "lightning.accelerator=cpu", "lightning.devices=2", "data.batch_size=4", "export=null",
        "report=false", "callbacks.auto_retry.save_every_n_steps=3",
    ]  # fmt: skip
    folder = place / "outputs/line/two"
    first = Command(*words)
    while first.running and len(list((folder / "checkpoints/steps").glob("*.ckpt"))) < 2:
        time.sleep(0.05)
    first.kill()
    assert nl.evaluate(folder, trust=True).keys() == figures_of(run).keys(), "of what is whole by now"
    done = Command(*words).end()
    assert done.returncode == 0, done.stderr
    assert nl.evaluate(folder, trust=True) == pytest.approx(figures_of(folder), rel=1e-6)


def test_other_data_and_batch_sizes_are_asked_for_by_name(run: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("0.5\n1.5\n-2\n")
    found = nl.evaluate(run, str(tmp_path / "other.txt"), params={"noisy": False, "shift": 0.25}, trust=True)
    weight, bias = weights_of(run)
    x = torch.tensor([[0.5], [1.5], [-2.0]])
    errors = ((x + 0.25) @ weight.T + bias - 2 * x).square().mean(1)
    assert found["val_loss"] == pytest.approx(float(errors.mean()), rel=1e-6)
    again = nl.evaluate(run, {"eval_batch_size": 3}, trust=True)
    assert again == pytest.approx(figures_of(run), rel=1e-6)


def test_one_checkpoint_is_evaluated_rather_than_the_best(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = sorted((run / "checkpoints/steps").glob("*.ckpt"))
    weights = torch.load(steps[-1], weights_only=True)["state_dict"]
    assert main(["evaluate", str(steps[-1]), "--trust", "--json", "params.noisy=false"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["checkpoint"] == str(steps[-1])
    x = torch.linspace(-1, 1, 22)[:, None]
    errors = (x @ weights["model.weight"].T + weights["model.bias"] - 2 * x).square().mean(1)
    assert said["metrics"]["val_loss"] == pytest.approx(float(errors.mean()), rel=1e-6)


def test_each_sample_is_predicted_once_and_in_order(run: Path) -> None:
    rows = nl.predict(run, {"eval_batch_size": 3}, trust=True)
    weight, bias = weights_of(run)
    x = torch.linspace(-1, 1, 22)[:7, None] / 3
    assert [row["index"] for row in rows] == list(range(7))
    assert torch.equal(torch.tensor([row["x"] for row in rows]), x[:, 0])
    torch.testing.assert_close(torch.tensor([row["y"] for row in rows]), x @ weight.T + bias)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_predictions_are_a_file_of_the_kind_its_name_says(
    run: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import datasets

    out = tmp_path / f"out.{suffix}"
    assert main(["predict", str(run), "--out", str(out), "--trust"]) == 0
    assert f"{out}: 7 rows; step" in capsys.readouterr().out
    kind = "json" if suffix == "jsonl" else suffix
    read = datasets.load_dataset(kind, data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    rows = nl.predict(run, trust=True)
    assert read["x"] == [row["x"] for row in rows]
    assert [json.loads(y) if suffix == "csv" else y for y in read["y"]] == [row["y"] for row in rows]
    assert main(["predict", str(run), "--out", str(out), "--trust"]) == 2
    assert "--force" in capsys.readouterr().err
    assert os.listdir(tmp_path).count(out.name) == 1


def test_nobody_s_code_is_run_unasked(run: Path, place: Path) -> None:
    with pytest.raises(RequestError, match="nobody vouches"):
        nl.evaluate(run)
    found = nl.evaluate(
        run, params={"noisy": True}, lightning={"accelerator": "cpu"}, trainer=f"{place}/line.py"
    )
    assert found == pytest.approx(figures_of(run), rel=1e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optim.lr=1"], "would change nothing"),
        (["data.batch_size=2"], "eval_batch_size"),
        (["data.eval_batch_size=0"], "at least 1"),
        (["lightning.max_epochs=2"], "max_epochs"),
        (["lightning.limit_predict_batches=2"], "nothing about an evaluation"),
        (["params.nois=1"], "nois"),
        (["params.shift=1,2"], "one value"),
    ],
)
def test_what_cannot_act_is_refused(
    run: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), "--trust", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_trainer_without_predict_is_told_what_to_define(run: Path, tmp_path: Path) -> None:
    (tmp_path / "line.py").write_text(TRAINER.replace("def predict(", "def guess("))
    with pytest.raises(RequestError, match=r"Line has no predict\(self, batch\)"):
        nl.predict(run, trainer=str(tmp_path / "line.py"))


def test_an_altered_checkpoint_is_not_evaluated(run: Path) -> None:
    step = sorted((run / "checkpoints/steps").glob("*.ckpt"))[-1]
    content = step.read_bytes()
    try:
        step.write_bytes(content[:-1] + b"?")
        with pytest.raises(CheckpointError, match="altered"):
            nl.evaluate(step, trust=True)
    finally:
        step.write_bytes(content)


def test_with_a_key_only_what_was_signed_is_evaluated(run: Path, place: Path, tmp_path: Path) -> None:
    assert main(["keygen", "--out", str(tmp_path / "key.pem")]) == 0
    copy = shutil.copytree(run, tmp_path / "copy")
    assert main(["sign", str(copy), "--key", str(tmp_path / "key.pem")]) == 0
    key = str(tmp_path / "key.pub.pem")
    step = sorted((copy / "checkpoints/steps").glob("*.ckpt"))[-1]
    assert nl.evaluate(copy, key=key) == figures_of(run)
    assert nl.evaluate(step, key=key).keys() == figures_of(run).keys()
    other = Path(shutil.copy(step, copy / "checkpoints/steps/other.ckpt"))
    manifest = json.loads(step.with_name(f"{step.name}.manifest.json").read_text())
    renamed = {**manifest, "name": other.name, "files": {other.name: manifest["files"][step.name]}}
    other.with_name(f"{other.name}.manifest.json").write_text(json.dumps(renamed))
    with pytest.raises(CheckpointError, match=r"not signed|not what was signed"):
        nl.evaluate(other, key=key)


SETS = """
import torch
from nimble_lightning import NimbleTrainer

class Sets(NimbleTrainer):
    def pre_process(self):
        x = torch.linspace(-1, 1, 20)[:, None]
        self.train_data = (x, 2 * x)
        self.eval_data = {"near": (x, 2 * x), "far": (x[:5] + 5, 2 * x[:5] + 10)}
        self.lr = 0.1
        self.build_model()

    def build_model(self):
        self.model = torch.nn.Linear(1, 1)

    def train(self, batch):
        return (self.model(batch[0]) - batch[1]).square().mean()

    def predict(self, batch):
        return self.model(batch[0])[:, 0]
"""
LATE = SETS.replace("        self.build_model()\n", "").replace("build_model", "configure_model")
EMA = {"_target_": "lightning.pytorch.callbacks.EMAWeightAveraging", "decay": 0.5}


@pytest.mark.parametrize(("code", "callbacks"), [(SETS, {"ema": EMA}), (LATE, {})], ids=["averaged", "late"])
def test_several_sets_of_a_limited_run_are_evaluated_as_it_did(
    tmp_path: Path, code: str, callbacks: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sets.py").write_text(code)
    result = nl.run(
        str(tmp_path / "sets.py"), run_id="one", output_dir=str(tmp_path / "outputs"), launch="inline",
        lightning={"max_epochs": 3, "accelerator": "cpu", "limit_val_batches": 2, "precision": "bf16-mixed"},
        data={"batch_size": 4}, export=None, report=False, monitor="near_loss", callbacks=callbacks,
    )  # fmt: skip
    capsys.readouterr()
    found = nl.evaluate(result.folder, trust=True)
    assert "limit_val_batches=2: this is of a part of the data" in capsys.readouterr().err
    assert found == {name: result.metrics[name] for name in ("near_loss", "far_loss")}
    rows = nl.predict(result.folder, trust=True)
    assert [(row["data"], row["index"]) for row in rows] == [
        *(("near", index) for index in range(20)),
        *(("far", index) for index in range(5)),
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_prediction_leaves_nothing(
    run: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    interrupting = TRAINER.replace(
        "def predict(self, batch):", "def predict(self, batch):\n        self.act(batch)"
    )
    act = (
        f"\n    def act(self, batch):\n        if batch[0][0] > -0.25: os.kill(os.getpid(), {number.value})\n"
    )
    (tmp_path / "line.py").write_text(f"import os\n{interrupting}{act}")
    handler = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    # Of a command in the background a shell has it ignored.
    before = signal.signal(number, handler)
    words = ["predict", str(run), "--out", f"{tmp_path}/out.csv", "--trainer", f"{tmp_path}/line.py"]
    assert main([*words, "data.eval_batch_size=2"]) == code
    assert signal.signal(number, before) is handler
    assert not [name for name in os.listdir(tmp_path) if "out" in name]


LIGHTNING = """
import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset

x = torch.linspace(-1, 1, 10)[:, None]

class Own(L.LightningModule):
    def __init__(self, width: int = 1):
        super().__init__()
        self.layer = torch.nn.Linear(1, width)
        self.register_buffer("seen", torch.zeros(()))
    def forward(self, batch):
        return self.layer(batch[0])
    def training_step(self, batch, index):
        self.seen += len(batch[0])
        return (self(batch) - batch[1]).square().mean()
    def validation_step(self, batch, index):
        self.log("val_loss", (self(batch) - batch[1]).square().mean(), batch_size=len(batch[0]))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

class Data(L.LightningDataModule):
    def _loader(self):
        return DataLoader(TensorDataset(x, 2 * x), batch_size=4)
    train_dataloader = val_dataloader = predict_dataloader = _loader
"""


def test_a_lightning_module_is_evaluated_and_asked_as_well(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(LIGHTNING)
    result: Any = nl.run(
        str(tmp_path / "own.py"), run_id="one", output_dir=str(tmp_path / "outputs"), launch="inline",
        lightning={"max_epochs": 2, "accelerator": "cpu"}, export=None, report=False,
    )  # fmt: skip
    found = nl.evaluate(result.folder, trust=True)
    assert found["val_loss"] == result.metrics["val_loss"]
    rows = nl.predict(result.folder, trust=True)
    assert [row["index"] for row in rows] == list(range(10))
    with pytest.raises(RequestError, match="make their own batches"):
        nl.evaluate(result.folder, {"eval_batch_size": 2}, trust=True)
