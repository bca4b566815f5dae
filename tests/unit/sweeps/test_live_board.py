"""Whoever looks at a sweep sees what was tried again, and why, while it goes on."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.heartbeat import Heart, Phase
from nimble_lightning.sweeps.live_board import Board
from nimble_lightning.sweeps.run_progress import standing

ONGOING = {"number": 1, "start": 0.0}
HUNG = {"number": 1, "start": 0.0, "end": 1.0, "cause": "hang", "reason": "no step for 3 s"}


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=120, highlight=False)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def record(folder: Path, *attempts: dict) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"attempts": attempts}))
    return folder


def test_where_a_run_is_is_told_by_its_folder(tmp_path: Path) -> None:
    assert standing(tmp_path / "none").text == "starting"
    assert standing(record(tmp_path, ONGOING)).text == "starting"
    Heart(RunFolder(tmp_path).heartbeat(1, 0)).beat(7, Phase.TRAINING)
    assert standing(tmp_path).text == "step 7"
    assert standing(record(tmp_path, HUNG)).text == "attempt 1 ended (hang)"
    assert standing(record(tmp_path, HUNG, ONGOING)).text == "attempt 2 (hang), starting"
    assert standing(record(tmp_path, ONGOING, ONGOING)).text == "attempt 2 (killed), starting"


def test_a_retry_is_told_once_with_its_reason(tmp_path: Path, console: Console) -> None:
    board = Board(1, console)
    board.started(3, ["params.lr=1"], tmp_path)
    for attempts in ([], [ONGOING], [HUNG], [HUNG, ONGOING], [HUNG, ONGOING]):
        record(tmp_path, *attempts)
        board._next = 0.0
        board.look({3: tmp_path})
    lines = shown(console).splitlines()
    assert lines == ["Job 3: params.lr=1", "Job 3: attempt 2 (hang), starting, after no step for 3 s"]


def test_attempts_of_earlier_commands_are_old_news(tmp_path: Path, console: Console) -> None:
    record(tmp_path, HUNG)
    board = Board(1, console)
    board.started(0, [], tmp_path)
    record(tmp_path, HUNG, ONGOING)
    board.look({0: tmp_path})
    assert "hang" not in shown(console)
