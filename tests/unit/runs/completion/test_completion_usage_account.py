from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from pytest_httpserver import HTTPServer

from nimble_lightning.ops.run_files import write_json
from nimble_lightning.runs.completion import usage_account
from nimble_lightning.runs.job import Job
from nimble_lightning.usage.rank_record import RankRecord, write


def ended(tmp_path: Path, **settings: Any) -> Job:
    """A run of two attempts that has ended."""
    callbacks = {"usage_report": settings} if settings else {}
    config = OmegaConf.create(
        {"run_id": "r1", "name": "digits", "callbacks": callbacks, "lightning": {"devices": 2}}
    )
    job = Job.from_config(config, trainer="some.module:Trainer", folder=tmp_path)
    job.folder.create()
    attempts = [
        {"number": 1, "start": 100.0, "end": 110.0, "cause": "killed", "first_step": 0, "last_step": 4},
        {"number": 2, "start": 110.0, "end": 130.0, "cause": "finished", "first_step": 4, "last_step": 9},
    ]
    write_json(job.folder.run, {"run_id": "r1", "attempts": attempts})
    for rank in range(2):
        told = {"started": 111.0, "updated": 128.0, "seconds": {"start": 2.0, "step": 15.0}, "state": "other"}
        write(
            tmp_path,
            RankRecord(attempt=2, rank=rank, world_size=2, first_step=4, last_step=9, samples=20, **told),
        )
    return job


def test_the_account_is_made_of_what_was_recorded_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = ended(tmp_path, pue=1.0, prices={"gpu_hour": 60.0, "currency": "EUR"})
    usage_account.complete(job)
    usage = json.loads((tmp_path / "usage.json").read_text())
    assert (usage["run_id"], usage["name"], usage["final"]) == ("r1", "digits", True)
    assert usage["device_seconds"] == 60.0, "the first attempt told nothing, and held two devices as well"
    assert (usage["steps"], usage["samples"]) == (9, 40)
    assert usage["cost"]["amount"]["value"] == pytest.approx(1.0)
    said = capsys.readouterr().out
    assert "30.0 s on 2 x cpu, 2 attempts" in said
    assert said in job.folder.log.read_text()


def test_a_run_that_did_not_ask_for_it_has_none(tmp_path: Path) -> None:
    usage_account.complete(ended(tmp_path))
    assert not (tmp_path / "usage.json").exists()
    with usage_account.of_whole_run(ended(tmp_path), 3, 0):
        pass
    assert not (tmp_path / "usage" / "attempt-3.rank-0.json").exists()


def test_an_account_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = ended(tmp_path, pue=1.0)
    (tmp_path / "usage.json").mkdir()
    with caplog.at_level(logging.WARNING):
        usage_account.complete(job)
    assert "the account of r1 could not be written" in caplog.text


def test_it_is_sent_where_the_user_wants_it(tmp_path: Path, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/runs", method="POST").respond_with_data("")
    usage_account.complete(ended(tmp_path, report_to=httpserver.url_for("/runs")))
    assert httpserver.log[0][0].get_json()["run_id"] == "r1"


def test_what_did_not_arrive_is_kept_and_said(
    tmp_path: Path, httpserver: HTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    httpserver.expect_request("/runs").respond_with_data("", status=500)
    with caplog.at_level(logging.WARNING):
        usage_account.complete(ended(tmp_path, report_to=httpserver.url_for("/runs")))
    assert "answered 500" in caplog.text
    assert f"nimble-cli usage {tmp_path} --send" in caplog.text
    assert (tmp_path / "usage.json").exists()


def test_a_trainer_that_trains_by_itself_leaves_a_piece(tmp_path: Path) -> None:
    with usage_account.of_whole_run(ended(tmp_path, pue=1.0), 3, 0):
        pass
    piece = json.loads((tmp_path / "usage" / "attempt-3.rank-0.json").read_text())
    assert (piece["state"], piece["run"]) == ("other", "r1")
