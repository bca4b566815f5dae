"""Whatever `save_hyperparameters` was given, the checkpoint loads with `weights_only=True`."""

from __future__ import annotations

import argparse
import enum
import functools
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from nimble_lightning.checkpoint.contents.hyper_parameters import with_plain_settings


class Size(enum.Enum):
    SMALL = "small"


class Name(str):
    """A text of a class of its own."""


@dataclass
class Optimizer:
    lr: float
    folder: Path


def kept(hparams: Any) -> Any:
    """Hyper-parameters after a save and a safe load."""
    file = io.BytesIO()
    torch.save(with_plain_settings({"hyper_parameters": hparams, "hparams_type": type(hparams)}), file)
    file.seek(0)
    checkpoint = torch.load(file, weights_only=True)
    assert "hparams_type" not in checkpoint
    return checkpoint["hyper_parameters"]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (1e-3, 1e-3),
        (True, True),
        (None, None),
        (Path("a") / "b", "a/b"),
        (Size.SMALL, "small"),
        (Name("x"), "x"),
        ((1, [2, {"x": Path("y")}]), (1, [2, {"x": "y"}])),
        (np.float64(0.5), 0.5),
        (np.arange(2), [0, 1]),
        (torch.float16, torch.float16),
        (Optimizer(0.1, Path("o")), {"lr": 0.1, "folder": "o"}),
        (argparse.Namespace(a=1), {"a": 1}),
        (OmegaConf.create({"a": [1, "${b}"], "b": 2}), {"a": [1, "${b}"], "b": 2}),
        (OmegaConf.create([1, 2]), [1, 2]),
    ],
)
def test_plain_values_are_kept(value: Any, plain: Any) -> None:
    found = kept({"x": value})["x"]
    assert found == plain
    assert type(found) is type(plain)


def test_a_whole_configuration_is_kept_with_its_references_unresolved() -> None:
    config = OmegaConf.create({"lr": 0.1, "key": "${oc.env:SECRET,none}"})
    assert kept(config) == {"lr": 0.1, "key": "${oc.env:SECRET,none}"}


def test_what_has_no_plain_value_is_left_out_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    hparams = {"net": torch.nn.Linear(1, 1), "make": functools.partial(int, base=2), "width": 3}
    with caplog.at_level(logging.WARNING):
        assert kept(hparams) == kept(hparams) == {"width": 3}
    assert [r.getMessage().split(" is not kept")[0] for r in caplog.records] == [
        "the hyper-parameter 'net' (Linear)",
        "the hyper-parameter 'make' (partial)",
    ]


def test_a_checkpoint_without_them_is_left_as_it_is() -> None:
    checkpoint: dict[str, Any] = {"state_dict": {}}
    assert with_plain_settings(checkpoint) is checkpoint
