"""Variables that workers must not have are gone while a run goes on, and back afterwards."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from nimble_lightning.runs.signature import withheld
from nimble_lightning.worker.server.forkserver import let_go


def environment_of_a_worker(queue: Any) -> None:
    queue.put((Path("/proc/self/environ").read_bytes().decode(), dict(os.environ)))


def seen_by_a_worker() -> str:
    context = multiprocessing.get_context("forkserver")
    queue = context.SimpleQueue()
    process = context.Process(target=environment_of_a_worker, args=(queue,))
    process.start()
    seen = queue.get()
    process.join()
    return repr(seen)


def test_a_variable_is_gone_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "secret")
    with withheld(["A_KEY", "NOT_THERE"]) as held:
        assert held == {"A_KEY": "secret"}
        assert "A_KEY" not in os.environ
    assert os.environ["A_KEY"] == "secret"
    assert "NOT_THERE" not in os.environ


def test_it_comes_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "secret")
    with pytest.raises(KeyError), withheld(["A_KEY"]):
        raise KeyError
    assert os.environ["A_KEY"] == "secret"


def test_workers_of_a_server_that_knew_it_do_not_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another one is to know it from the start.
    let_go()
    monkeypatch.setenv("A_KEY", "the-secret-itself")
    assert "the-secret-itself" in seen_by_a_worker()
    with withheld(["A_KEY"]):
        assert "the-secret-itself" not in seen_by_a_worker()
    let_go()
