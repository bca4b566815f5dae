"""What a worker that fails says, where, and how it ends."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from nimble_lightning.errors import TrainerError
from nimble_lightning.ops.failures import DISK_FULL
from nimble_lightning.ops.run_files import write_text
from nimble_lightning.ops.signals import asked
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.job import Job
from nimble_lightning.settings import LogSettings
from nimble_lightning.worker import worker
from nimble_lightning.worker.output import to_log


def raised(act: Callable[[], Any]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        act()
    # As seen from a worker, whose own frames are the package's.
    assert caught.value.__traceback__ is not None
    return caught.value.with_traceback(caught.value.__traceback__.tb_next)


def users() -> None:
    raise ValueError("no such thing")


def long() -> None:
    raise RuntimeError("one\ntwo")


def of_ours() -> None:
    raise TrainerError("train returned None\nReturn the loss")


CASES = {
    "users": (users, ["Traceback (your code", "in users"], "ValueError: no such thing"),
    "long": (long, ["Traceback (your code", "in long", "RuntimeError: one\ntwo"], "RuntimeError: one\ntwo"),
    "ours": (of_ours, [], "train returned None\nReturn the loss"),
}


@pytest.fixture(autouse=True)
def nobody_asks_for_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a fit in this process was asked for before."""
    monkeypatch.setattr(asked, "stop", False)


@pytest.mark.parametrize("case", CASES)
def test_the_terminal_hears_where_and_the_log_hears_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    act, terminal, log = CASES[case]
    job = Job(OmegaConf.create({}), RunFolder(tmp_path), "x")
    job.folder.create()
    with to_log(job.folder, 0, 0, LogSettings()):
        worker.report(raised(act), job, 1, 0)
    said = capsys.readouterr().err
    assert all(part in said for part in terminal)
    assert bool(said) == bool(terminal), "the supervisor says it"
    assert "ValueError: no such thing" not in said
    assert log in job.folder.log.read_text()


def test_frames_of_libraries_are_not_called_the_users() -> None:
    error = raised(lambda: json.loads("{"))
    assert "decoder.py" not in worker.users_part(error)
    assert error.__traceback__ is not None
    assert worker.users_part(error.with_traceback(error.__traceback__.tb_next)) == ""


def test_a_file_in_a_folder_with_the_name_of_the_package_is_the_users(tmp_path: Path) -> None:
    path = tmp_path / "nimble_lightning" / "mine.py"
    code = compile("def f():\n    raise KeyError(1)", str(path), "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    assert "mine.py" in worker.users_part(raised(names["f"]))


def test_the_exit_code_says_what_could_not_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    worker.leave(OSError(errno.ENOSPC, "No space left on device"))
    worker.leave(ValueError())
    assert (codes[0], codes[-1]) == (DISK_FULL, 1)


def test_a_file_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "run.json", "before")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "run.json", "after")
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert (tmp_path / "run.json").read_text() == "before"
