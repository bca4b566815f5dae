"""The fork server imports what a trainer's file imports, and nothing that may change."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver as servers
from pathlib import Path

import pytest

from nimble_lightning.worker.server import forkserver
from nimble_lightning.worker.server.forkserver import imports_of, without_main


def until(done: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if done():
            return True
        time.sleep(0.01)
    return False


def test_imports_are_found_wherever_they_stand_except_neighbours(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("")
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch.nn as nn\nfrom NimbleSDK import NimbleTrainer\nimport helpers\nfrom . import other\n"
        "class T:\n    def pre_process(self):\n        from sklearn.datasets import load_digits\n"
    )
    assert imports_of(f"{path}:T") == ["sklearn.datasets", "torch.nn"]


@pytest.mark.parametrize("content", [b"x = (1,\ndef f(): pass", b"\xff\x00\xfe", b'x = "\xe9"'])
def test_what_is_wrong_with_a_file_is_left_to_whoever_uses_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(content)
    assert imports_of(str(path)) == []


def test_a_module_is_not_read() -> None:
    assert imports_of("package.module:Class") == []


def test_the_users_script_is_hidden_only_meanwhile() -> None:
    main = sys.modules["__main__"]
    with without_main():
        assert sys.modules["__main__"] is not main
        assert not hasattr(sys.modules["__main__"], "__file__")
    assert sys.modules["__main__"] is main


def test_what_the_server_does_not_have_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    forkserver.start("package.module:Class")
    before = forkserver.changes()
    monkeypatch.setenv("SET_SINCE", "now")
    assert forkserver.changes() == {**before, "SET_SINCE": "now"}


def test_a_server_that_was_killed_is_started_anew_and_another_is_let_be() -> None:
    forkserver.start("package.module:Class")
    first = servers._forkserver._forkserver_pid  # type: ignore[attr-defined]
    forkserver.start("package.module:Class")
    assert servers._forkserver._forkserver_pid == first  # type: ignore[attr-defined]
    os.kill(first, signal.SIGKILL)
    assert until(lambda: not forkserver.runs())
    forkserver.start("package.module:Class")
    assert forkserver.runs()
    assert servers._forkserver._forkserver_pid != first  # type: ignore[attr-defined]
