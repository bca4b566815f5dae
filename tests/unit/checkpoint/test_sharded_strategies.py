"""What a strategy saves in pieces is committed, and what it loads is checked first."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from checkpoint_cases import fail_at
from lightning.pytorch.strategies import (
    DDPStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
)
from typing_extensions import override

from nimble_lightning.checkpoint import (
    NimbleCheckpointIO,
    RunFacts,
    commit_shards,
    fault_points,
    newest_whole,
    seal_folder,
    verify,
)
from nimble_lightning.checkpoint.sharded_strategies import Shards
from nimble_lightning.errors import CheckpointError, RequestError


class Alone(ModelParallelStrategy):
    """Saves as Lightning does, from one process; notes what it would load into a model."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.parallel_devices = [torch.device("cpu")]
        self.loaded: list[Path] = []

    @override
    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        assert weights_only is True
        self.loaded.append(checkpoint_path)
        return dict(torch.load(Path(checkpoint_path) / "meta.pt", weights_only=True))


class Surprise:
    """Nothing that weights_only=True would load."""


@pytest.fixture(autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    store = dist.FileStore(str(tmp_path_factory.mktemp("store") / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def strategy() -> Alone:
    made = Alone()
    commit_shards(made)
    return made


def state(step: int, **more: Any) -> dict[str, Any]:
    weights = {"state_dict": {"weight": torch.full((10,), float(step))}, "optimizer_states": [{"a": step}]}
    return {
        **weights,
        "global_step": step,
        "epoch": 0,
        "nimble": {"run_id": "run", "samples": 8 * step},
        **more,
    }


def test_a_folder_is_committed_with_the_facts_of_the_run(tmp_path: Path, strategy: Alone) -> None:
    for step in (1, 2):
        strategy.save_checkpoint(state(step), tmp_path / f"{step}.ckpt")
    found = newest_whole(tmp_path, run_id="run")
    assert found is not None
    assert (found.manifest.step, found.manifest.samples) == (2, 16)
    assert found.manifest.parent == verify(tmp_path / "1.ckpt").digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.ckpt", "2.ckpt"]


def test_a_whole_one_is_loaded_and_the_next_save_is_its_child(tmp_path: Path, strategy: Alone) -> None:
    strategy.save_checkpoint(state(1), tmp_path / "1.ckpt")
    other = Alone()
    commit_shards(other)
    assert other.load_checkpoint(tmp_path / "1.ckpt")["global_step"] == 1
    other.save_checkpoint(state(2), tmp_path / "2.ckpt")
    assert verify(tmp_path / "2.ckpt").parent == verify(tmp_path / "1.ckpt").digest


@pytest.mark.parametrize("name", ["meta.pt", ".metadata", "__0_0.distcp"])
def test_nothing_is_read_from_a_damaged_one(tmp_path: Path, strategy: Alone, name: str) -> None:
    strategy.save_checkpoint(state(1), tmp_path / "1.ckpt")
    piece = tmp_path / "1.ckpt" / name
    content = bytearray(piece.read_bytes())
    content[-1] ^= 1
    piece.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name} was altered"):
        strategy.load_checkpoint(tmp_path / "1.ckpt")
    assert strategy.loaded == []


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("where", ["index", "value"])
def test_code_is_refused_though_the_manifest_speaks_for_it(
    tmp_path: Path, strategy: Alone, where: str
) -> None:
    path = tmp_path / "1.ckpt"
    if where == "value":
        strategy.save_checkpoint(state(1, optimizer_states=[{"a": Code()}]), path)
    else:
        strategy.save_checkpoint(state(1), path)
        (path / ".metadata").write_bytes(pickle.dumps(Code()))
        (path / "manifest.json").unlink()
        seal_folder(path, RunFacts(step=1))
    assert verify(path).step == 1
    with pytest.raises(CheckpointError, match="weights_only=True"):
        strategy.load_checkpoint(path)
    assert strategy.loaded == []
    assert not Path("ran").exists()


def test_an_index_that_points_out_of_the_folder_is_refused(tmp_path: Path, strategy: Alone) -> None:
    path = tmp_path / "1.ckpt"
    strategy.save_checkpoint(state(1), path)
    index = pickle.loads((path / ".metadata").read_bytes())
    for place in index.storage_data.values():
        place.relative_path = "../elsewhere"
    (path / ".metadata").write_bytes(pickle.dumps(index))
    (path / "manifest.json").unlink()
    seal_folder(path, RunFacts(step=1))
    with pytest.raises(CheckpointError, match="elsewhere"):
        strategy.load_checkpoint(path)


def test_one_that_was_never_committed_is_refused(tmp_path: Path, strategy: Alone) -> None:
    Alone().save_checkpoint(state(1), tmp_path / "1.ckpt")
    with pytest.raises(CheckpointError, match="no manifest"):
        strategy.load_checkpoint(tmp_path / "1.ckpt")
    assert strategy.loaded == []


def test_running_code_is_refused(tmp_path: Path, strategy: Alone) -> None:
    strategy.save_checkpoint(state(1), tmp_path / "1.ckpt")
    with pytest.raises(CheckpointError, match="run code"):
        strategy.load_checkpoint(tmp_path / "1.ckpt", weights_only=False)


def test_what_could_not_be_loaded_again_is_not_committed(tmp_path: Path, strategy: Alone) -> None:
    with pytest.raises(CheckpointError, match="Surprise"):
        strategy.save_checkpoint(state(1, extra=Surprise()), tmp_path / "1.ckpt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", ["open", "half", "fsync", "pending", "manifest", "replace"])
def test_after_a_disk_error_nothing_is_left_and_the_next_save_works(
    tmp_path: Path, strategy: Alone, stage: str
) -> None:
    strategy.save_checkpoint(state(1), tmp_path / "1.ckpt")
    fault_points.set_hook(fail_at(stage, errno.ENOSPC))
    with pytest.raises(OSError, match="No space"):
        strategy.save_checkpoint(state(2), tmp_path / "2.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["1.ckpt"]
    fault_points.set_hook(None)
    strategy.save_checkpoint(state(2), tmp_path / "2.ckpt")
    assert verify(tmp_path / "2.ckpt").step == 2


def test_an_error_of_the_disk_that_torch_wraps_is_one_of_the_disk(
    tmp_path: Path, strategy: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.distributed.checkpoint import filesystem

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(filesystem, "_write_item", full)
    with pytest.raises(OSError, match="No space"):
        strategy.save_checkpoint(state(1), tmp_path / "1.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_a_whole_model_in_one_file_is_left_to_the_plugin(tmp_path: Path) -> None:
    strategy = Alone(save_distributed_checkpoint=False)
    strategy.checkpoint_io = NimbleCheckpointIO()
    commit_shards(strategy)
    strategy.save_checkpoint(state(1), tmp_path / "1.ckpt")
    assert (tmp_path / "1.ckpt").is_file()
    assert verify(tmp_path / "1.ckpt").step == 1


def test_storage_options_are_refused(tmp_path: Path, strategy: Alone) -> None:
    with pytest.raises(RequestError, match="storage_options"):
        strategy.save_checkpoint(state(1), tmp_path / "1.ckpt", storage_options={})


@pytest.mark.parametrize(
    ("strategy", "cut_up"),
    [
        (ModelParallelStrategy(), True),
        (FSDPStrategy(state_dict_type="sharded"), True),
        (FSDPStrategy(), True),
        (DDPStrategy(), False),
        (SingleDeviceStrategy(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_strategies_that_pass_the_plugin_by_are_stood_before(strategy: Any, cut_up: bool) -> None:
    assert (Shards.of(strategy) is not None) == cut_up
    commit_shards(strategy)
    assert Shards.of(strategy) is None, "once is enough"


def test_it_can_step_aside_again(tmp_path: Path) -> None:
    strategy = Alone()
    shards = Shards.of(strategy)
    assert shards is not None
    shards.stand_before()
    strategy.save_checkpoint(state(1), tmp_path / "ours.ckpt")
    shards.step_aside()
    strategy.save_checkpoint(state(1), tmp_path / "theirs.ckpt")
    assert [(tmp_path / name / "manifest.json").exists() for name in ("ours.ckpt", "theirs.ckpt")] == [
        True,
        False,
    ]
