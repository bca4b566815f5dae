"""A job is what was asked, resolved once, and the same for every start."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.run_files import read_json, write_text
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.job import Job, short_name


def config(**values: Any) -> DictConfig:
    return OmegaConf.create(
        {"output_dir": "outputs", "params": {"lr": 0.1}, "seed": 0, "run_id": "one", **values}
    )


def job(**values: Any) -> Job:
    return Job.from_config(config(**values), trainer=f"{os.getcwd()}/my_trainer.py:Mine")


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("/a/my_trainer.py:Mine", "my_trainer"),
        ("/a/my_trainer.py", "my_trainer"),
        ("package.module:Mine", "Mine"),
        ("package.Mine", "Mine"),
    ],
)
def test_runs_of_a_trainer_share_a_folder_named_after_it(spec: str, name: str) -> None:
    assert short_name(spec) == name


def test_the_run_id_names_the_folder_and_is_made_up_when_not_given() -> None:
    assert job().folder.path == Path("outputs/my_trainer/one").resolve()
    assert job(run_id=None).run_id != job(run_id=None).run_id


@pytest.mark.parametrize(
    ("asked", "epochs"),
    [
        ({}, 10),
        ({"max_steps": -1}, 10),
        ({"max_steps": 200}, -1),
        ({"max_time": "00:01:00:00"}, -1),
        ({"max_steps": 200, "max_epochs": 3}, 3),
    ],
)
def test_ten_epochs_are_the_length_where_no_other_was_asked_for(asked: dict[str, Any], epochs: int) -> None:
    made = job(lightning={"max_epochs": None, **asked})
    assert made.resolved()["lightning"] == {**asked, "max_epochs": epochs}


def test_references_stay_unresolved_in_the_folder_and_resolve_in_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOKEN", "canary-1234")
    made = job(params={"token": "${oc.env:TOKEN}"})
    made.save()
    for file in made.folder.path.rglob("*"):
        assert not file.is_file() or b"canary" not in file.read_bytes()
    assert Job.load(made.folder.path).resolved()["params"]["token"] == "canary-1234"


def test_the_folder_is_its_owners_alone() -> None:
    made = job()
    made.save()
    assert stat.S_IMODE(made.folder.path.stat().st_mode) == 0o700


def test_what_was_asked_last_is_what_the_workers_read() -> None:
    job(lightning={"max_epochs": 3}).save()
    job(lightning={"max_epochs": 5}, resume="never").save()
    assert Job.load("outputs/my_trainer/one").config.lightning.max_epochs == 5


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="holds no run"):
        Job.load(tmp_path)


def test_a_folder_that_cannot_be_written_says_what_to_choose(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="output_dir=FOLDER"):
        RunFolder(tmp_path / "file" / "run").create()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_text(path, '{"a": 1}')

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(path, '{"a": 2, "more": "..."}')
    assert read_json(path) == {"a": 1}


@pytest.mark.parametrize("content", ["", '{"a": ', "[1]"])
def test_a_record_that_is_not_whole_reads_as_empty(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    assert read_json(tmp_path / "run.json") == {}
