"""What is not trained is kept once a run, named by its digest, and everybody gets it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nimble_lightning.checkpoint import NimbleCheckpointIO, frozen_weights
from nimble_lightning.checkpoint.full_weights import weights_of
from nimble_lightning.errors import CheckpointError


class Adapted(nn.Module):
    """A large part that stays, tied to a second name, and a small one that is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(600, 600)
        self.base.requires_grad_(False)
        self.head = self.base
        self.adapter = nn.Linear(2, 2)


def state_of(module: nn.Module, step: int) -> dict[str, Any]:
    state = module.state_dict()
    marked = frozen_weights.names_of(module, state)
    return {"state_dict": state, "global_step": step, "nimble": {frozen_weights.KEY: marked}}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_checkpoints_hold_what_is_trained_and_load_with_all_of_it(tmp_path: Path) -> None:
    module, io = Adapted(), NimbleCheckpointIO(frozen_folder=tmp_path)
    for step in (1, 2):
        with torch.no_grad():
            module.adapter.weight += 1
        io.save_checkpoint(state_of(module, step), tmp_path / "steps" / f"{step}.ckpt")
    io.save_checkpoint(state_of(module, 2), tmp_path / "best" / "2.ckpt")
    assert len(list(tmp_path.glob("frozen-*.pt"))) == 1
    for path in tmp_path.rglob("*.ckpt"):
        assert path.stat().st_size < 10_000
        assert set(torch.load(path, weights_only=True)["state_dict"]) == {"adapter.weight", "adapter.bias"}
    assert same(dict(weights_of(tmp_path / "steps" / "2.ckpt")), module.state_dict())


def test_a_process_that_goes_on_writes_them_no_second_time(tmp_path: Path) -> None:
    module, path = Adapted(), tmp_path / "steps" / "1.ckpt"
    NimbleCheckpointIO(frozen_folder=tmp_path).save_checkpoint(state_of(module, 1), path)
    (frozen,) = tmp_path.glob("frozen-*.pt")
    before = frozen.stat().st_mtime_ns
    io = NimbleCheckpointIO(frozen_folder=tmp_path)
    io.load_checkpoint(path)
    io.save_checkpoint(state_of(module, 2), tmp_path / "steps" / "2.ckpt")
    assert [f.stat().st_mtime_ns for f in tmp_path.glob("frozen-*.pt")] == [before]
    assert same(dict(weights_of(tmp_path / "steps" / "2.ckpt")), module.state_dict())


@pytest.mark.parametrize("change", ["one value", "two values swapped"])
def test_what_changes_though_nothing_trains_it_is_in_each_checkpoint_from_then_on(
    tmp_path: Path, change: str
) -> None:
    module, io = Adapted(), NimbleCheckpointIO(frozen_folder=tmp_path)
    io.save_checkpoint(state_of(module, 1), tmp_path / "steps" / "1.ckpt")
    first = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        weight = module.base.weight
        if change == "one value":
            weight[3, 3] += 1e-6
        else:
            weight[[0, 9]] = weight[[9, 0]]
    io.save_checkpoint(state_of(module, 2), tmp_path / "steps" / "2.ckpt")
    assert same(dict(weights_of(tmp_path / "steps" / "1.ckpt")), first)
    assert same(dict(weights_of(tmp_path / "steps" / "2.ckpt")), module.state_dict())


def test_few_are_kept_in_the_checkpoint() -> None:
    small = nn.Linear(2, 2).requires_grad_(False)
    assert frozen_weights.names_of(small, small.state_dict()) == []


def test_a_checkpoint_saved_elsewhere_is_complete_by_itself(tmp_path: Path) -> None:
    module, path = Adapted(), tmp_path / "mine.ckpt"
    NimbleCheckpointIO(frozen_folder=tmp_path / "run").save_checkpoint(state_of(module, 1), path)
    assert same(torch.load(path, weights_only=True)["state_dict"], module.state_dict())


@pytest.mark.parametrize(("act", "said"), [("lost", "copy that"), ("altered", "was changed")])
def test_without_them_a_checkpoint_is_refused_in_words(tmp_path: Path, act: str, said: str) -> None:
    path = tmp_path / "steps" / "1.ckpt"
    NimbleCheckpointIO(frozen_folder=tmp_path).save_checkpoint(state_of(Adapted(), 1), path)
    (frozen,) = tmp_path.glob("frozen-*.pt")
    if act == "lost":
        frozen.unlink()
    else:
        frozen.write_bytes(frozen.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=said):
        NimbleCheckpointIO(frozen_folder=tmp_path).load_checkpoint(path)


def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "1.ckpt"
    named = {"file": "../secret.pt", "names": ["weight"]}
    NimbleCheckpointIO().save_checkpoint({"state_dict": {}, "nimble": {frozen_weights.KEY: named}}, path)
    with pytest.raises(CheckpointError, match="names"):
        NimbleCheckpointIO().load_checkpoint(path)
