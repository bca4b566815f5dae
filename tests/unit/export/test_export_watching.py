from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from nimble_lightning.checkpoint import NimbleCheckpointIO
from nimble_lightning.export import during
from nimble_lightning.export.during import Target, part_of
from nimble_lightning.export.models import Model
from nimble_lightning.export.watching import Watch


@pytest.fixture
def pushes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Message and files of every push; the Hub itself is tested with a real one of its own."""
    seen: list[tuple[str, list[str]]] = []

    def push(folder: Path, repo: str, *, message: str, under: str = "", **more: object) -> str:
        seen.append((message, sorted(f"{under}/{p.name}".lstrip("/") for p in folder.iterdir())))
        return "address"

    monkeypatch.setattr(during, "push", push)
    return seen


def watch(folder: Path, strategy: str) -> Watch:
    models = [Model("model", nn.Linear(2, 2))]
    return Watch(models, Target("me/x", None, folder / ".hub"), folder / "checkpoints", strategy)


def save(folder: Path, name: str) -> None:
    path = folder / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {f"model.{key}": value for key, value in nn.Linear(2, 2).state_dict().items()}
    NimbleCheckpointIO().save_checkpoint({"state_dict": state, "global_step": 1}, path)


def pushed(folder: Path, pushes: list[tuple[str, list[str]]], strategy: str) -> list[str]:
    """The messages of what is pushed of a step and a better model, saved after an earlier start's."""
    save(folder, "steps/step-1.ckpt")
    looking = watch(folder, strategy)
    looking.start()
    save(folder, "best/best-2.ckpt")
    save(folder, "steps/step-2.ckpt")
    looking.finish(30, final=False)
    assert not (folder / ".hub").exists()
    return sorted(message for message, _ in pushes)


def test_every_save_pushes_the_better_model_as_safetensors(tmp_path: Path, pushes: list) -> None:
    assert pushed(tmp_path, pushes, "every_save") == ["The model of best-2.ckpt"]
    assert pushes[0][1] == ["model.safetensors"]


def test_checkpoint_pushes_the_newest_one_too_with_its_manifest(tmp_path: Path, pushes: list) -> None:
    assert pushed(tmp_path, pushes, "checkpoint") == ["Checkpoint step-2.ckpt", "The model of best-2.ckpt"]
    assert pushes[1][1] == ["last-checkpoint/step-2.ckpt", "last-checkpoint/step-2.ckpt.manifest.json"]


def test_all_checkpoints_pushes_each_that_is_new(tmp_path: Path, pushes: list) -> None:
    messages = pushed(tmp_path, pushes, "all_checkpoints")
    assert messages == [
        "Checkpoint best-2.ckpt",
        "Checkpoint step-2.ckpt",
        "Checkpoint step-2.ckpt",
        "The model of best-2.ckpt",
    ]


def test_at_the_end_of_a_foreign_project_the_model_is_pushed_as_it_is(tmp_path: Path, pushes: list) -> None:
    watch(tmp_path, "end").finish(30, final=True)
    assert pushes == [("The trained model", ["model.safetensors"])]


def test_a_damaged_checkpoint_is_not_pushed_and_said(
    tmp_path: Path, pushes: list, caplog: pytest.LogCaptureFixture
) -> None:
    looking = watch(tmp_path, "all_checkpoints")
    looking.start()
    save(tmp_path, "best/best-2.ckpt")
    path = tmp_path / "checkpoints/best/best-2.ckpt"
    path.write_bytes(path.read_bytes()[:-1])
    looking.finish(30, final=False)
    assert pushes == []
    assert "is refused" in caplog.text
    assert "hf upload me/x" in caplog.text


def test_a_checkpoint_that_is_deleted_meanwhile_is_pushed_all_the_same(tmp_path: Path) -> None:
    save(tmp_path, "best/best-2.ckpt")
    path, target = tmp_path / "checkpoints/best/best-2.ckpt", Target("me/x", None, tmp_path / ".hub")
    content = path.read_bytes()
    kept = target.keep(path)
    path.unlink()
    assert kept.read_bytes() == content
    target.drop(kept)
    assert list((tmp_path / ".hub").iterdir()) == []


def test_the_state_of_a_model_is_found_by_its_name_or_alone() -> None:
    model = Model("net", nn.Linear(1, 1))
    own = model.module.state_dict()
    named = {f"net.{name}": value for name, value in own.items()} | {"other.x": torch.ones(1)}
    assert part_of(named, model).keys() == own.keys()
    assert part_of(own, model).keys() == own.keys()
