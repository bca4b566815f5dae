"""The plugin keeps Lightning's contract, and its own."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_cases import save, state
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.plugins.io import CheckpointIO

from nimble_lightning.checkpoint import AsyncNimbleCheckpointIO, NimbleCheckpointIO, verify
from nimble_lightning.errors import CheckpointError, RequestError

PLUGINS = [NimbleCheckpointIO, AsyncNimbleCheckpointIO]


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize("method", ["save_checkpoint", "load_checkpoint", "remove_checkpoint", "teardown"])
def test_the_signatures_are_those_of_lightning(plugin: type[CheckpointIO], method: str) -> None:
    ours = inspect.signature(getattr(plugin, method)).parameters
    theirs = inspect.signature(getattr(CheckpointIO, method)).parameters
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [
        (p.name, p.kind, p.default) for p in theirs.values()
    ]


def test_the_manifest_says_what_the_checkpoint_says(tmp_path: Path) -> None:
    manifest = verify(save(tmp_path / "20.ckpt", 20))
    assert (manifest.step, manifest.epoch, manifest.samples, manifest.run_id, manifest.attempt) == (
        20,
        2,
        640,
        "run",
        1,
    )
    assert (manifest.name, manifest.device, manifest.parent) == ("20.ckpt", "cpu", None)
    assert set(manifest.versions) == {"python", "torch", "lightning", "nimble_lightning"}
    assert manifest.threads == torch.get_num_threads()


def test_each_manifest_names_the_one_before_also_after_a_resume(tmp_path: Path) -> None:
    io = NimbleCheckpointIO()
    for step in (1, 2):
        io.save_checkpoint(state(step), tmp_path / f"{step}.ckpt")
    resumed = NimbleCheckpointIO()
    resumed.load_checkpoint(tmp_path / "2.ckpt")
    resumed.save_checkpoint(state(3), tmp_path / "3.ckpt")
    first, second, third = (verify(tmp_path / f"{step}.ckpt") for step in (1, 2, 3))
    assert (second.parent, third.parent) == (first.digest, second.digest)


def test_lightning_reads_what_we_write(tmp_path: Path) -> None:
    path = save(tmp_path / "1.ckpt", 1)
    assert TorchCheckpointIO().load_checkpoint(path, weights_only=True)["global_step"] == 1


@pytest.mark.parametrize("zipped", [True, False])
def test_foreign_files_load_only_if_allowed(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "1.ckpt"
    torch.save(state(1), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="no manifest"):
        NimbleCheckpointIO().load_checkpoint(path)
    assert NimbleCheckpointIO(allow_foreign=True).load_checkpoint(path)["global_step"] == 1


def test_allowing_foreign_files_does_not_excuse_a_manifest_that_fails(tmp_path: Path) -> None:
    path = save(tmp_path / "1.ckpt", 1)
    torch.save(state(2), path)
    with pytest.raises(CheckpointError, match="refused"):
        NimbleCheckpointIO(allow_foreign=True).load_checkpoint(path)


def test_state_that_could_not_be_loaded_again_is_refused_when_it_is_saved(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"pathlib.*weights_only"):
        NimbleCheckpointIO().save_checkpoint(
            {**state(1), "callbacks": {"root": Path("a")}}, tmp_path / "1.ckpt"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_state_without_a_step_is_step_zero(tmp_path: Path) -> None:
    NimbleCheckpointIO().save_checkpoint({"weight": torch.ones(1)}, tmp_path / ".temp.ckpt")
    assert NimbleCheckpointIO().load_checkpoint(tmp_path / ".temp.ckpt")["weight"].item() == 1


@pytest.mark.parametrize("path", ["https://example.com/a.ckpt", "s3://bucket/a.ckpt"])
def test_paths_of_other_machines_are_refused(path: str) -> None:
    io = NimbleCheckpointIO()
    calls: list[Any] = [lambda: io.load_checkpoint(path), lambda: io.save_checkpoint({}, path)]
    for call in calls:
        with pytest.raises(CheckpointError, match="not a local path"):
            call()


def test_running_code_from_a_checkpoint_cannot_be_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path / "1.ckpt", 1)
    with pytest.raises(CheckpointError, match="weights_only=False"):
        NimbleCheckpointIO().load_checkpoint(path, weights_only=False)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_storage_options_are_refused(tmp_path: Path, plugin: type[CheckpointIO]) -> None:
    with pytest.raises(RequestError, match="storage_options"):
        plugin().save_checkpoint({}, tmp_path / "1.ckpt", storage_options={"a": 1})


def test_loaded_weights_can_be_trained_and_outlive_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "1.ckpt", 1)
    weight = NimbleCheckpointIO().load_checkpoint(path)["state_dict"]["weight"]
    path.unlink()
    weight.add_(1)
    assert torch.equal(weight, state(1)["state_dict"]["weight"] + 1)


def test_weights_land_where_map_location_says(tmp_path: Path) -> None:
    path = save(tmp_path / "1.ckpt", 1)
    assert NimbleCheckpointIO().load_checkpoint(path, map_location="meta")["state_dict"]["weight"].is_meta
