"""The commands keygen, sign and verify: what they print, and what they exit with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nimble_lightning.commands.main import main

JOB = "run_id: first\nseed: 0\ntrainer: /x/my.py\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/job.yaml").write_text(JOB)
    (tmp_path / "run/run.json").write_text('{"run_id": "first", "status": "finished", "attempts": []}')
    return tmp_path / "run"


def test_a_key_signs_and_its_public_half_verifies(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "--out", "key.pem"]) == 0
    assert main(["sign", str(run), "--key", "key.pem"]) == 0
    assert main(["verify", str(run), "--key", "key.pub.pem"]) == 0
    assert "verified: run first, finished" in capsys.readouterr().out
    (run / "run.json").write_text("{}")
    assert main(["verify", str(run), "--key", "key.pub.pem"]) == 1
    assert "NOT VERIFIED" in capsys.readouterr().err


def test_what_was_found_can_be_read_by_programs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["keygen", "--out", "key.pem"])
    main(["sign", str(run), "--key", "key.pem"])
    (run / "show").mkdir()
    (run / "show/extra.txt").write_text("x")
    capsys.readouterr()
    assert main(["verify", str(run), "--key", "key.pub.pem", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [(p["kind"], p["file"]) for p in told["problems"]] == [("extra", "show/extra.txt")]
    assert told["run_id"] == "first"


def test_a_passphrase_comes_from_the_environment(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "sesame-open")
    assert main(["keygen", "--out", "key.pem", "--passphrase", "env:WORD"]) == 0
    assert main(["sign", str(run), "--key", "key.pem", "--passphrase", "env:WORD"]) == 0
    assert main(["verify", str(run), "--key", "key.pub.pem"]) == 0
    monkeypatch.setenv("WORD", "another")
    assert main(["sign", str(run), "--key", "key.pem", "--passphrase", "env:WORD"]) == 2


def test_a_kind_of_key_chooses_the_format(run: Path) -> None:
    assert main(["keygen", "--out", "key.pem", "--kind", "ecdsa"]) == 0
    assert main(["sign", str(run), "--key", "key.pem"]) == 0
    assert (run / "statement.oms.json").exists()
    assert main(["verify", str(run), "--key", "key.pub.pem"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verify", "nowhere", "--key", "key.pub.pem"], "There is no folder"),
        (["verify", "RUN", "--key", "none.pem"], "There is no statement.json"),
        (["sign", "nowhere", "--key", "key.pem"], "holds no run"),
        (["sign", "RUN", "--key", "none.pem"], "cannot be read"),
        (["sign", "RUN", "--key", "env:NONE"], "NONE is not set"),
        (["sign", "RUN", "--key", "key.pem", "--passphrase", "written out"], "never written out"),
        (["keygen", "--out", "key.pem"], "not overwritten"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    run: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["keygen", "--out", "key.pem"])
    capsys.readouterr()
    assert main([str(run) if word == "RUN" else word for word in words]) != 0
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert len(told.splitlines()) <= 2


def test_an_old_statement_shows_by_what_is_expected(run: Path) -> None:
    main(["keygen", "--out", "key.pem"])
    main(["sign", str(run), "--key", "key.pem"])
    for expected in (["--run-id", "second"], ["--step", "1"], ["--attempt", "1"]):
        assert main(["verify", str(run), "--key", "key.pub.pem", *expected]) == 1
    assert os.path.exists(run / "statement.json")
