"""Whoever loads, and however he asks: no code is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from nimble_lightning.checkpoint.contents import pickle_check


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("code-has-run",)


@pytest.fixture(autouse=True)
def without_deepspeed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_check, "_DEEPSPEED_KNOWN", ())


def test_a_load_that_asks_for_code_gets_none() -> None:
    torch.save({"weight": torch.ones(2), "more": Evil()}, "part.pt")
    with pickle_check.weights_only(), pytest.raises(pickle.UnpicklingError):
        torch.load("part.pt", weights_only=False)
    assert not Path("code-has-run").exists()


def test_tensors_and_plain_values_are_read() -> None:
    torch.save({"weight": torch.ones(2), "step": 3}, "part.pt")
    with pickle_check.weights_only():
        assert torch.load("part.pt", weights_only=False)["step"] == 3


@pytest.mark.parametrize("before", [None, "0"])
def test_afterwards_everybody_loads_as_before(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    name = pickle_check._FORCED
    if before is not None:
        monkeypatch.setenv(name, before)
    with pickle_check.weights_only():
        assert os.environ[name] == "1"
    assert os.environ.get(name) == before
