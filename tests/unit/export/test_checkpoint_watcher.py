from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from nimble_lightning.checkpoint import NimbleCheckpointIO, prune
from nimble_lightning.errors import ExportError
from nimble_lightning.export import checkpoint_push
from nimble_lightning.export.checkpoint_push import PushTarget, part_of
from nimble_lightning.export.checkpoint_watcher import CheckpointWatcher
from nimble_lightning.export.exportable_models import ExportedModel


@pytest.fixture
def pushes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Message and files of every push; the Hub itself is tested with a real one of its own."""
    seen: list[tuple[str, list[str]]] = []

    def push(folder: Path, repo: str, *, message: str, under: str = "", **more: object) -> str:
        seen.append((message, sorted(f"{under}/{p.name}".lstrip("/") for p in folder.iterdir())))
        return "address"

    monkeypatch.setattr(checkpoint_push, "push", push)
    return seen


def watch(folder: Path, strategy: str) -> CheckpointWatcher:
    models = [ExportedModel("model", nn.Linear(2, 2))]
    return CheckpointWatcher(
        models, PushTarget("me/x", None, folder / ".hub"), folder / "checkpoints", strategy
    )


class Down:
    """A Hub that cannot be reached for the first so many pushes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: float) -> None:
        self.left, self.pushed = times, [""]
        monkeypatch.setattr(checkpoint_push, "push", self.push)

    def push(self, folder: Path, repo: str, *, message: str, under: str = "", **more: object) -> str:
        self.left -= 1
        if self.left >= 0:
            raise ExportError("no network")
        if under == "checkpoints":
            self.pushed += [path.name for path in folder.iterdir() if path.suffix == ".ckpt"]
        return "address"


ALL = [f"step-{step}.ckpt" for step in range(10, 18)]


def commit_all(folder: Path, names: list[str]) -> None:
    """As a run does: of the checkpoints two are left."""
    for name in names:
        save(folder, f"steps/{name}", int(name[5:7]))
        prune(folder / "checkpoints", keep=2)


def test_all_that_are_committed_are_pushed_however_fast_they_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, looking = Down(monkeypatch, 0), watch(tmp_path, "all_checkpoints")
    looking.start()
    commit_all(tmp_path, ALL)
    looking.finish(30, final=False)
    assert sorted(hub.pushed[1:]) == ALL
    assert len(list((tmp_path / "checkpoints/steps").glob("*.ckpt"))) == 2
    assert not (tmp_path / ".hub").exists()


def test_what_could_not_be_pushed_waits_until_the_hub_is_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub, looking = Down(monkeypatch, 12), watch(tmp_path, "all_checkpoints")
    looking.start()
    commit_all(tmp_path, ALL)
    looking.finish(30, final=False)
    assert sorted(hub.pushed[1:]) == ALL
    assert "4 checkpoints (" in caplog.text
    assert "on the disk until then" in caplog.text
    assert not (tmp_path / ".hub").exists()


def test_what_was_not_pushed_before_a_kill_is_pushed_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    down, killed = Down(monkeypatch, float("inf")), watch(tmp_path, "all_checkpoints")
    killed.start()
    commit_all(tmp_path, ALL[:5])
    killed.finish(30, final=False)
    assert down.pushed == [""]
    assert "5 checkpoints (" in caplog.text
    assert f"not pushed yet: kept in {tmp_path / '.hub'}" in caplog.text
    assert re.search(rf"hf upload me/x {tmp_path}/.hub/waiting-\w+ checkpoints", caplog.text)
    # One that nobody heard of, and what a push left that was cut off.
    commit_all(tmp_path, ALL[5:6])
    (tmp_path / ".hub/tmpxyz").mkdir()
    hub, again = Down(monkeypatch, 0), watch(tmp_path, "all_checkpoints")
    again.start(resumed=True)
    commit_all(tmp_path, ALL[6:])
    again.finish(30, final=False)
    assert sorted(set(hub.pushed[1:])) == ALL
    assert not (tmp_path / ".hub").exists()


def test_a_disk_without_hard_links_is_copied_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(checkpoint_push.os, "link", refuse)
    hub, looking = Down(monkeypatch, 0), watch(tmp_path, "all_checkpoints")
    looking.start()
    commit_all(tmp_path, ALL[:3])
    looking.finish(30, final=False)
    assert hub.pushed[1:] == ALL[:3]


def save(folder: Path, name: str, step: int = 1) -> None:
    path = folder / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {f"model.{key}": value for key, value in nn.Linear(2, 2).state_dict().items()}
    NimbleCheckpointIO().save_checkpoint({"state_dict": state, "global_step": step}, path)


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
    messages = pushed(tmp_path, pushes, "checkpoint")
    # Whether an older one was on its way by then depends on how fast the Hub is.
    assert set(messages) - {"Checkpoint best-2.ckpt"} == {
        "Checkpoint step-2.ckpt",
        "The model of best-2.ckpt",
    }
    assert pushes[-1][1] == ["last-checkpoint/step-2.ckpt", "last-checkpoint/step-2.ckpt.manifest.json"]


def test_all_checkpoints_pushes_each_that_is_new(tmp_path: Path, pushes: list) -> None:
    messages = pushed(tmp_path, pushes, "all_checkpoints")
    assert set(messages) == {"Checkpoint best-2.ckpt", "Checkpoint step-2.ckpt", "The model of best-2.ckpt"}
    kept = [files[0] for _, files in pushes if files[0].startswith("checkpoints/")]
    assert kept == ["checkpoints/best-2.ckpt", "checkpoints/step-2.ckpt"]


def test_at_the_end_of_a_foreign_project_the_model_is_pushed_as_it_is(tmp_path: Path, pushes: list) -> None:
    watch(tmp_path, "end").finish(30, final=True)
    assert pushes == [("The trained model", ["model.safetensors"])]


def test_a_damaged_checkpoint_is_not_pushed_and_said(
    tmp_path: Path, pushes: list, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, "best/best-2.ckpt")
    path = tmp_path / "checkpoints/best/best-2.ckpt"
    path.write_bytes(path.read_bytes()[:-1])
    looking = watch(tmp_path, "all_checkpoints")
    looking.start(resumed=True)
    looking.finish(30, final=False)
    assert pushes == []
    assert "is refused" in caplog.text
    assert "hf upload me/x" in caplog.text


def test_a_checkpoint_that_is_deleted_meanwhile_is_pushed_all_the_same(tmp_path: Path) -> None:
    save(tmp_path, "best/best-2.ckpt")
    path, target = tmp_path / "checkpoints/best/best-2.ckpt", PushTarget("me/x", None, tmp_path / ".hub")
    content = path.read_bytes()
    kept = target.keep(path)
    path.unlink()
    assert kept.read_bytes() == content
    target.drop(kept)
    assert list((tmp_path / ".hub").iterdir()) == []


def test_the_state_of_a_model_is_found_by_its_name_or_alone() -> None:
    model = ExportedModel("net", nn.Linear(1, 1))
    own = model.module.state_dict()
    named = {f"net.{name}": value for name, value in own.items()} | {"other.x": torch.ones(1)}
    assert part_of(named, model).keys() == own.keys()
    assert part_of(own, model).keys() == own.keys()
