"""Earlier weights as references: only whole, and only as data."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from nimble_lightning.adapters import UserTrainer
from nimble_lightning.checkpoint import Manifest, NimbleCheckpointIO, verify
from nimble_lightning.checkpoint.commit import commit_file
from nimble_lightning.errors import RequestError
from nimble_lightning.testing import TinyTrainer
from nimble_lightning.validators import Run, reference_weights


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def prepared(**params: Any) -> Run:
    user = UserTrainer(TinyTrainer, params)
    user.prepare()
    return Run(Path("run"), {}, user=user)


def state_of(run: Run, prefix: str = "model.") -> dict[str, Tensor]:
    return {f"{prefix}{name}": value.clone() for name, value in run.modules["model"].state_dict().items()}


def checkpoint(state: dict[str, Any], file: str = "checkpoints/best/best.ckpt") -> Path:
    place = Path(file).resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    NimbleCheckpointIO().save_checkpoint({"state_dict": state, "global_step": 1, "epoch": 0}, place)
    return place


def test_weights_go_into_copies_and_leave_the_trained_ones_alone() -> None:
    other, run = prepared(), prepared()
    before = state_of(run)
    for place in (checkpoint(state_of(other)), Path("weights.safetensors"), Path("bare.safetensors")):
        if place.suffix == ".safetensors":
            save_file(state_of(other, "" if place.stem == "bare" else "model."), place)
        reference_weights.require(place)
        loaded = reference_weights.load(place, run)["model"]
        for name, value in loaded.state_dict().items():
            assert torch.equal(value, state_of(other, "")[name])
            assert torch.equal(before[f"model.{name}"], run.modules["model"].state_dict()[name])


def test_a_run_stands_for_its_best_checkpoint_wherever_it_was_moved() -> None:
    other, run = prepared(), prepared()
    checkpoint(state_of(other), "earlier/checkpoints/best/best.ckpt")
    Path("earlier/run.json").write_text(json.dumps({"best_checkpoint": "/gone/checkpoints/best/best.ckpt"}))
    reference_weights.require(Path("earlier"))
    loaded = reference_weights.load(Path("earlier"), run)["model"].state_dict()
    assert torch.equal(loaded["0.weight"], state_of(other)["model.0.weight"])


def test_what_is_not_whole_or_not_ours_is_refused_before_it_is_read() -> None:
    place = checkpoint(state_of(prepared()))
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)
    with pytest.raises(RequestError, match="altered"):
        reference_weights.require(place)
    with pytest.raises(Exception, match="altered"):
        reference_weights.load(place, prepared())

    Path("foreign.ckpt").write_bytes(pickle.dumps({"state_dict": Evil()}))
    with pytest.raises(RequestError, match="no manifest"):
        reference_weights.require(Path("foreign.ckpt"))

    def vouched(files: Any) -> Manifest:
        return replace(verify(whole), files=files, name="hidden.ckpt")

    whole, hidden = checkpoint(state_of(prepared())), Path("hidden.ckpt").resolve()
    commit_file(hidden, lambda file: torch.save({"state_dict": Evil()}, file), vouched)
    with pytest.raises(pickle.UnpicklingError):
        reference_weights.load(hidden, prepared())
    assert not Path("ran").exists()


def test_what_holds_no_weights_is_refused() -> None:
    Path("empty").mkdir()
    with pytest.raises(RequestError, match="no run and no model"):
        reference_weights.require(Path("empty"))
    Path("unfinished").mkdir()
    Path("unfinished/run.json").write_text(json.dumps({"status": "failed"}))
    with pytest.raises(RequestError, match=r"no best checkpoint \(it is failed\)"):
        reference_weights.require(Path("unfinished"))


def test_weights_of_another_shape_are_refused() -> None:
    place = checkpoint(state_of(prepared(hidden=4)))
    with pytest.raises(RequestError, match="do not fit"):
        reference_weights.load(place, prepared(hidden=16))
