"""What `train` returned, when it did everything itself, is brought to its end."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from nimble_lightning.adapters import UserTrainer
from nimble_lightning.ops.run_files import write_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.settings import CallbackSettings
from nimble_lightning.worker import custom_loop


class Mine:
    """Returns what it was given."""

    def __init__(self) -> None:
        self.returned: Any = None

    def pre_process(self) -> None: ...

    def train(self, **kwargs: Any) -> Any:
        self.context = kwargs
        return self.returned

    def evaluate(self, **kwargs: Any) -> Any:
        return {"accuracy": torch.tensor(0.5), "words": "no figure", "table": [1]}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    write_json(folder.run, {"started": time.time() - 60})
    return folder


def checkpoint(place: Path, step: int, *, says: int | None = None, age: float = 0.0) -> Path:
    path = place / f"checkpoint-{step}"
    path.mkdir(parents=True)
    state = path / "trainer_state.json"
    state.write_text(json.dumps({"global_step": step if says is None else says}))
    os.utime(state, (time.time() - age, time.time() - age))
    return path


def test_figures_are_numbers_only(folder: RunFolder) -> None:
    metrics = custom_loop.complete(UserTrainer(Mine, {}), None, folder, rank=0)
    assert metrics.pop("train_runtime") >= 0
    assert {name: float(value) for name, value in metrics.items()} == {"accuracy": 0.5}


def test_a_returned_module_is_kept_and_becomes_the_model(folder: RunFolder) -> None:
    user, module = UserTrainer(Mine, {}), torch.nn.Linear(2, 1)
    custom_loop.complete(user, module, folder, rank=0)
    assert user.object.model is module
    saved = torch.load(folder.checkpoints / "trained.pt", weights_only=True)
    assert torch.equal(saved["weight"], module.weight)


def test_only_the_first_rank_writes(folder: RunFolder) -> None:
    custom_loop.complete(UserTrainer(Mine, {}), torch.nn.Linear(2, 1), folder, rank=1)
    assert not (folder.checkpoints / "trained.pt").exists()


def test_figures_may_be_returned_and_other_things_are_said_to_be_unused(
    folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    assert custom_loop.complete(UserTrainer(Mine, {}), {"loss": 0.1}, folder, rank=0)["loss"] == 0.1
    custom_loop.complete(UserTrainer(Mine, {}), "done", folder, rank=0)
    assert "train returned a str, which is not used" in caplog.text


def test_an_evaluation_by_batch_is_not_called(folder: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    class Batchwise(Mine):
        def evaluate(self, batch: Any) -> Any:  # type: ignore[override]
            raise AssertionError

    assert custom_loop.evaluated(UserTrainer(Batchwise, {})) == {}
    assert "evaluate takes a batch" in caplog.text


def test_train_is_told_of_the_newest_whole_checkpoint_of_its_own_run(folder: RunFolder) -> None:
    checkpoint(folder.path / "out", 8)
    newest = checkpoint(folder.path / "out", 10)
    checkpoint(folder.path / "out", 12, says=11)
    checkpoint(folder.path / "out", 14, age=3600)
    (folder.path / "out" / "checkpoint-16").mkdir()
    user = UserTrainer(Mine, {}, {"resume_from": None})
    custom_loop.train(user, folder)
    assert user.object.context["resume_from"] == str(newest), (
        "not the damaged, the earlier run's or the unfinished"
    )


def test_a_first_start_resumes_from_nothing(folder: RunFolder) -> None:
    user = UserTrainer(Mine, {}, {"resume_from": None})
    custom_loop.train(user, folder)
    assert user.object.context["resume_from"] is None


def test_a_loss_that_is_no_number_is_refused_unless_nobody_looks() -> None:
    looked_at = CallbackSettings(blocks={"non_finite": {"policy": "stop"}})
    custom_loop.refuse_spoilt({"train_loss": 1.0, "auroc": float("nan")}, looked_at)
    custom_loop.refuse_spoilt({"train_loss": float("nan")}, CallbackSettings(blocks={"non_finite": None}))
    with pytest.raises(FloatingPointError, match="eval_loss is inf; callbacks.non_finite=null"):
        custom_loop.refuse_spoilt({"train_loss": 1.0, "eval_loss": float("inf")}, looked_at)
