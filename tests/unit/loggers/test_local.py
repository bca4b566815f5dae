"""The loggers that write into the run's folder."""

from __future__ import annotations

import csv
import json
import math
import pickle
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

from nimble_lightning.loggers import CSVLogger, JSONLLogger, read_metrics

BOTH = pytest.mark.parametrize("kind", [JSONLLogger, CSVLogger])


def attempt(folder: Path, steps: range, value: float, kind: type = JSONLLogger, **more: float) -> None:
    logger = kind(folder)
    for step in steps:
        logger.log_metrics({"loss": value, "epoch": step // 10, **more}, step)
    logger.finalize("success")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_line_is_one_json_object_with_these_keys(tmp_path: Path) -> None:
    JSONLLogger(tmp_path).log_metrics({"loss": torch.tensor(0.5), "epoch": 2, "seen": torch.tensor(3)}, 7)
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert row.pop("time") > 0
    assert row == {"step": 7, "epoch": 2, "attempt": 1, "metrics": {"loss": 0.5, "seen": 3}}


@BOTH
def test_nothing_an_earlier_attempt_wrote_is_lost(tmp_path: Path, kind: type) -> None:
    attempt(tmp_path, range(0, 5), 1.0, kind)
    (file,) = tmp_path.iterdir()
    before = file.read_text()
    attempt(tmp_path, range(3, 6), 2.0, kind)
    assert file.read_text().startswith(before)
    assert len(file.read_text().splitlines()) - len(before.splitlines()) == 3


def test_the_history_takes_the_last_attempts_word(tmp_path: Path) -> None:
    attempt(tmp_path, range(0, 6), 1.0)
    attempt(tmp_path, range(3, 5), 2.0)
    attempt(tmp_path, range(4, 8), 3.0)
    history = read_metrics(tmp_path / "metrics.jsonl")
    assert [(row["step"], row["metrics"]["loss"]) for row in history] == [
        *((step, 1.0) for step in range(3)),
        (3, 2.0),
        *((step, 3.0) for step in range(4, 8)),
    ]


def test_an_attempt_that_only_tests_takes_no_curve_away(tmp_path: Path) -> None:
    attempt(tmp_path, range(0, 6), 1.0)
    JSONLLogger(tmp_path).log_metrics({"test_accuracy": 0.9}, 5)
    history = read_metrics(tmp_path / "metrics.jsonl")
    assert len(history) == 7
    assert history[-1]["attempt"] == 2


def test_torn_lines_are_passed_over_and_swallow_nothing(tmp_path: Path) -> None:
    attempt(tmp_path, range(0, 3), 1.0)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    attempt(tmp_path, range(2, 4), 2.0)
    assert [row["step"] for row in read_metrics(path)] == [0, 1, 2, 3]


def test_a_line_still_being_written_is_not_read(tmp_path: Path) -> None:
    attempt(tmp_path, range(0, 3), 1.0)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    assert [row["step"] for row in read_metrics(path)] == [0, 1]


def test_no_file_is_no_history(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_nan_and_infinity_stay_valid_json_and_come_back(tmp_path: Path) -> None:
    JSONLLogger(tmp_path).log_metrics({"a": math.nan, "b": math.inf, "c": torch.tensor(-math.inf)}, 0)
    path = tmp_path / "metrics.jsonl"
    json.loads(path.read_text(), parse_constant=pytest.fail)
    (row,) = read_metrics(path)
    assert math.isnan(row["metrics"]["a"])
    assert (row["metrics"]["b"], row["metrics"]["c"]) == (math.inf, -math.inf)


def test_a_new_metric_becomes_a_column_and_every_row_keeps_its_cells(tmp_path: Path) -> None:
    attempt(tmp_path, range(0, 2), 1.0, CSVLogger)
    attempt(tmp_path, range(2, 3), 2.0, CSVLogger, **{"val, loss": 0.25})
    first, _, last = rows(tmp_path)
    assert first["loss"] == "1.0"
    assert first["val, loss"] == ""
    assert (last["loss"], last["val, loss"], last["attempt"]) == ("2.0", "0.25", "2")
    assert None not in last
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_table_whose_last_row_was_torn_goes_on(tmp_path: Path) -> None:
    attempt(tmp_path, range(0, 3), 1.0, CSVLogger)
    path = tmp_path / "metrics.csv"
    path.write_bytes(path.read_bytes()[:-12])
    attempt(tmp_path, range(2, 4), 2.0, CSVLogger)
    assert [row["step"] for row in rows(tmp_path)][-2:] == ["2", "3"]


@BOTH
def test_a_logger_that_never_logs_leaves_no_file(tmp_path: Path, kind: type) -> None:
    logger = kind(tmp_path / "run")
    logger.log_metrics({"epoch": 1}, 3)
    logger.finalize("success")
    assert not (tmp_path / "run").exists()


@BOTH
def test_it_can_be_pickled_while_it_is_open(tmp_path: Path, kind: type) -> None:
    logger = kind(tmp_path)
    logger.log_metrics({"loss": 1.0}, 0)
    copy = pickle.loads(pickle.dumps(logger))
    copy.log_metrics({"loss": 2.0}, 1)
    copy.finalize("success")
    logger.log_metrics({"loss": 3.0}, 2)
    (file,) = tmp_path.iterdir()
    assert len(file.read_text().splitlines()) == (4 if kind is CSVLogger else 3)


@BOTH
def test_under_a_trainer_it_writes_into_the_folder_itself(tmp_path: Path, kind: type) -> None:
    class Model(BoringModel):
        def training_step(self, batch, batch_idx):
            output = super().training_step(batch, batch_idx)
            self.log("train_loss", output["loss"])
            return output

    trainer = L.Trainer(
        max_epochs=1,
        limit_train_batches=4,
        limit_val_batches=0,
        log_every_n_steps=2,
        accelerator="cpu",
        logger=kind(tmp_path),
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(Model(), BoringDataModule())
    assert {path.name for path in tmp_path.iterdir()} >= {"checkpoints"}
    if kind is JSONLLogger:
        assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 3]
    else:
        assert [(row["step"], row["epoch"]) for row in rows(tmp_path)] == [("1", "0"), ("3", "0")]
