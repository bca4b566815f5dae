"""`nl.run` and the folder it leaves: started once, continued, finished; in workers and in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import nimble_lightning as nl
from nimble_lightning.checkpoint import newest_whole
from nimble_lightning.errors import RequestError

TRAINER = """
import torch
from nimble_lightning import NimbleTrainer

class Line(NimbleTrainer):
    def pre_process(self, *, slope: float = 2.0):
        torch.set_num_threads(1)
        x = torch.linspace(-1, 1, 64)[:, None]
        self.train_data, self.eval_data = (x, slope * x), (x, slope * x)
        self.model = torch.nn.Linear(1, 1)
        self.lr = 0.1

    def train(self, batch):
        return (self.model(batch[0]) - batch[1]).square().mean()

    def evaluate(self, batch):
        return {"near": ((self.model(batch[0]) - batch[1]).abs() < 0.05).squeeze(1)}

    def predict_and_show(self):
        yield "slope", f"{self.model.weight.item():.1f}"
"""

SETTINGS: dict[str, Any] = {"lightning": {"max_epochs": 20, "accelerator": "cpu"}, "data": {"batch_size": 16}}


@pytest.fixture
def trainer() -> Iterator[str]:
    Path("line.py").write_text(TRAINER)
    yield "line.py"
    sys.modules.pop("line", None)


def test_a_run_in_workers_leaves_a_record_of_itself(trainer: str) -> None:
    result = nl.run(trainer, run_id="first", **SETTINGS)
    assert (result.status, result.exit_code, result.global_step) == ("finished", 0, 80)
    assert result.metrics["near"] == 1.0
    assert result.training_loss > 0
    assert {"train_runtime", "train_steps_per_second", "train_samples_per_second"} <= result.metrics.keys()
    assert result.best_checkpoint is not None
    weights = torch.load(result.best_checkpoint, weights_only=True)["state_dict"]
    assert weights.keys() == {"model.weight", "model.bias"}
    folder = Path("outputs/line/first")
    assert result.folder == folder.resolve()
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["metrics"] == result.metrics
    assert [a["cause"] for a in record["attempts"]] == ["finished"]
    assert (folder / "show" / "index.json").exists()
    assert "slope: 2.0" in (folder / "log.txt").read_text()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert any("train_loss" in line["metrics"] for line in lines)

    again = nl.run(trainer, run_id="first", **SETTINGS)
    assert again.metrics == result.metrics
    assert "finished already" in again.message
    assert len(again.attempts) == 1

    afresh = nl.run(trainer, run_id="first", resume="never", **SETTINGS)
    assert afresh.status == "finished"
    assert afresh.attempts[-1]["first_step"] == 0
    assert list(folder.glob("checkpoints.before-*")), "what was there is kept"

    with pytest.raises(RequestError, match="params.slope: not given then, 3.0 now"):
        nl.run(trainer, run_id="first", params={"slope": 3.0}, resume="never", **SETTINGS)


def test_in_this_process_nothing_is_started_and_errors_come_out_as_they_are(trainer: str) -> None:
    result = nl.run(trainer, launch="inline", **SETTINGS)
    assert result.status == "finished"
    assert result.metrics["near"] == 1.0

    class Broken:
        def pre_process(self) -> None:
            raise LookupError("no such table")

        def train(self, batch: Any) -> Any:
            return batch

    with pytest.raises(LookupError, match="no such table"):
        nl.run(Broken())
    record = json.loads(next(Path("outputs/Broken").glob("*/run.json")).read_text())
    assert record["status"] == "failed"

    assert nl.run(Broken(), check=False).exit_code == 1


def test_a_run_in_this_process_says_what_it_cannot_obey(
    trainer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    auto_retry = {"hang_seconds": 60, "save_every_n_steps": 5}
    nl.run(trainer, launch="inline", callbacks={"auto_retry": auto_retry}, **SETTINGS)
    assert "one process: callbacks.auto_retry.hang_seconds changes nothing" in capsys.readouterr().err


def test_a_run_that_fails_raises_wherever_it_ran(trainer: str) -> None:
    broken = {**SETTINGS, "params": {"slope": "steep"}}
    with pytest.raises(nl.RunError, match="failed: rank 0") as error:
        nl.run(trainer, **broken)
    assert (error.value.result.status, error.value.result.exit_code) == ("failed", 1)


def test_a_checkpoint_can_be_continued_from_by_its_path(trainer: str) -> None:
    first = nl.run(trainer, launch="inline", **SETTINGS)
    newest = max(first.folder.glob("checkpoints/steps/*.ckpt"))
    longer = {**SETTINGS, "lightning": {"max_epochs": 25, "accelerator": "cpu"}}
    second = nl.run(trainer, launch="inline", resume=str(newest), **longer)
    assert second.attempts[0]["first_step"] == 80
    assert second.global_step == 100
    with pytest.raises(RequestError, match="does not exist"):
        nl.run(trainer, launch="inline", resume="nowhere.ckpt", **SETTINGS)


def test_an_unknown_setting_is_refused(trainer: str) -> None:
    with pytest.raises(RequestError, match="epochs"):
        nl.run(trainer, epochs=3)


@pytest.mark.slow
def test_a_script_without_a_guard_does_not_start_itself_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"{TRAINER}\nimport nimble_lightning as nl\n"
        "r = nl.run(Line, lightning={'max_epochs': 1, 'accelerator': 'cpu'})\nprint(r.status, r.message)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert "if __name__ == '__main__':" in done.stdout + done.stderr
    assert len(list(Path(tmp_path).rglob("run.json")) + list(Path("outputs").rglob("run.json"))) == 1


IN_TURN = """
import os, time
from pathlib import Path
import torch
from nimble_lightning import NimbleTrainer

class InTurn(NimbleTrainer):
    def pre_process(self):
        with open("turns.txt", "a") as turns:
            rank = os.environ["RANK"]
            turns.write(f"{rank} starts, group {torch.distributed.is_initialized()}\\n")
            turns.flush()
            time.sleep(0.5)
            turns.write(f"{rank} ends\\n")
        self.train_data, self.model = torch.ones(8, 1), torch.nn.Linear(1, 1)

    def train(self, batch):
        return self.model(batch).mean()
"""


def test_pre_process_runs_on_one_process_first_and_before_any_group_waits() -> None:
    Path("in_turn.py").write_text(IN_TURN)
    lightning = {"max_epochs": 1, "accelerator": "cpu", "devices": 2, "strategy": "ddp"}
    assert nl.run("in_turn.py", lightning=lightning).status == "finished"
    turns = Path("turns.txt").read_text().splitlines()
    assert turns == ["0 starts, group False", "0 ends", "1 starts, group False", "1 ends"]


def test_the_best_weights_are_evaluated_and_shown_not_the_last() -> None:
    shown = []

    class Worsens:
        def pre_process(self) -> None:
            self.train_data, self.eval_data = torch.ones(4, 1), torch.ones(4, 1)
            self.model = torch.nn.Linear(1, 1, bias=False)
            torch.nn.init.zeros_(self.model.weight)

        def train(self, batch: Any) -> Any:
            return -self.model(batch).mean()

        def evaluate(self, batch: Any) -> Any:
            return {"loss": self.model(batch).abs().squeeze(1)}

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.model.parameters(), lr=1.0)

        def predict_and_show(self) -> Any:
            shown.append(float(self.model.weight))
            return "shown"

    result = nl.run(Worsens(), lightning={"max_epochs": 3, "accelerator": "cpu"})
    assert result.global_step == 3
    assert result.metrics["val_loss"] == 1.0, "after the first epoch; after the third it is 3"
    assert shown == [1.0]
    assert result.best_checkpoint is not None
    assert result.best_checkpoint.name == "best-00000001.ckpt"


def test_a_run_that_saves_in_the_background_leaves_whole_checkpoints(trainer: str) -> None:
    result = nl.run(trainer, checkpoints={"asynchronous": True}, **SETTINGS)
    assert result.status == "finished"
    found = newest_whole(result.folder / "checkpoints" / "steps")
    assert found is not None
    assert (found.manifest.step, found.skipped) == (80, ())
