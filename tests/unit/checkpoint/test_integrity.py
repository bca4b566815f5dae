"""What was altered is refused before anything is unpickled."""

from __future__ import annotations

import io
import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_cases import save, state

from nimble_lightning.checkpoint import NimbleCheckpointIO, integrity, newest_whole, verify
from nimble_lightning.checkpoint.commit import commit_file
from nimble_lightning.checkpoint.integrity import NOT_LOADED, not_loaded
from nimble_lightning.checkpoint.position import RunFacts, describe
from nimble_lightning.errors import CheckpointError


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def unpickled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: calls.append(args))
    return calls


def test_every_one_of_1000_bit_flips_is_refused_before_unpickling(
    tmp_path: Path, unpickled: list[Any]
) -> None:
    path = save(tmp_path / "1.ckpt", 1)
    data = path.read_bytes()
    draw = random.Random(0)
    for _ in range(1_000):
        position = draw.randrange(len(data))
        with path.open("r+b") as file:
            file.seek(position)
            file.write(bytes([data[position] ^ 1 << draw.randrange(8)]))
        with pytest.raises(CheckpointError, match="altered"):
            NimbleCheckpointIO().load_checkpoint(path)
        path.write_bytes(data)
    assert unpickled == []
    verify(path)


def test_each_of_100_truncations_is_refused_before_unpickling(tmp_path: Path, unpickled: list[Any]) -> None:
    path = save(tmp_path / "1.ckpt", 1)
    data = path.read_bytes()
    draw = random.Random(0)
    for _ in range(100):
        path.write_bytes(data[: draw.randrange(len(data))])
        with pytest.raises(CheckpointError, match="bytes"):
            NimbleCheckpointIO().load_checkpoint(path)
    assert unpickled == []


def test_a_malicious_pickle_without_a_manifest_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": Canary(tmp_path / "canary")}, tmp_path / "1.ckpt")
    with pytest.raises(CheckpointError, match="no manifest"):
        NimbleCheckpointIO().load_checkpoint(tmp_path / "1.ckpt")
    assert newest_whole(tmp_path) is None
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("foreign", [False, True], ids=["forged-manifest", "allow-foreign"])
def test_a_malicious_pickle_is_never_run(tmp_path: Path, foreign: bool) -> None:
    path = tmp_path / "1.ckpt"
    evil = {"state_dict": Canary(tmp_path / "canary"), "global_step": 1}
    if foreign:
        torch.save(evil, path)
    else:
        commit_file(
            path,
            lambda file: torch.save(evil, file),
            lambda files: describe(path.name, files, RunFacts(step=1), None),
        )
    with pytest.raises(CheckpointError, match="weights_only"):
        NimbleCheckpointIO(allow_foreign=foreign).load_checkpoint(path)
    assert not (tmp_path / "canary").exists()


def test_swapped_files_are_refused(tmp_path: Path) -> None:
    one, two = save(tmp_path / "1.ckpt", 1), save(tmp_path / "2.ckpt", 2)
    one.rename(tmp_path / "x")
    two.rename(one)
    (tmp_path / "x").rename(two)
    for path in (one, two):
        with pytest.raises(CheckpointError, match="altered"):
            verify(path)


def test_a_checkpoint_under_another_name_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "1.ckpt", 1)
    path.rename(tmp_path / "9.ckpt")
    (tmp_path / "1.ckpt.manifest.json").rename(tmp_path / "9.ckpt.manifest.json")
    with pytest.raises(CheckpointError, match="manifest is that of '1.ckpt'"):
        verify(tmp_path / "9.ckpt")


def test_a_manifest_that_says_another_step_than_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "1.ckpt"
    NimbleCheckpointIO().commit(state(1), path, RunFacts(step=2))
    with pytest.raises(CheckpointError, match="holds step 1, its manifest says 2"):
        NimbleCheckpointIO().load_checkpoint(path)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "1.ckpt", 1, run_id="mine")
    assert verify(path, run_id="mine").run_id == "mine"
    with pytest.raises(CheckpointError, match="run 'mine', expected 'yours'"):
        verify(path, run_id="yours")


def test_links_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "1.ckpt", 1)
    (tmp_path / "last.ckpt").symlink_to(path)
    with pytest.raises(CheckpointError, match="not a plain file"):
        verify(tmp_path / "last.ckpt")


def test_a_moved_folder_of_checkpoints_stays_whole(tmp_path: Path) -> None:
    save(tmp_path / "here" / "1.ckpt", 1)
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert verify(tmp_path / "there" / "1.ckpt").step == 1


def test_what_was_hashed_is_what_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "1.ckpt", 1)
    save(tmp_path / "other" / "1.ckpt", 2)
    load = torch.load

    def swap_then_load(*args: Any, **kwargs: Any) -> Any:
        os.replace(tmp_path / "other" / "1.ckpt", path)
        return load(*args, **kwargs)

    monkeypatch.setattr(torch, "load", swap_then_load)
    assert NimbleCheckpointIO().load_checkpoint(path)["global_step"] == 1


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        verify(tmp_path / "1.ckpt")


class Program:
    """Would run a command where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("exit 1",)


def zipped(value: Any) -> bytes:
    torch.save(value, file := io.BytesIO())
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (zipped(Program()), "Trying to load unsupported GLOBAL posix.system whose module posix is blocked."),
        (pickle.dumps(Program(), 4), "Unsupported operand 149"),
        (zipped(Path("a")), "GLOBAL pathlib"),
        (b"neither an archive nor a pickle", ""),
        (b"", ""),
    ],
)
def test_what_torch_does_not_load_is_told_without_the_advice_to_load_it_all_the_same(
    content: bytes, reason: str
) -> None:
    with pytest.raises(NOT_LOADED) as raised:
        torch.load(io.BytesIO(content), weights_only=True)
    told = str(not_loaded("a.ckpt", raised.value))
    assert told.startswith("Checkpoint a.ckpt does not load with weights_only=True: ")
    assert reason in told.removesuffix(".") + "."
    for advice in ("will likely succeed", "add_safe_globals", "\n"):
        assert advice not in told


def test_a_file_longer_than_its_manifest_says_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "hash_plain", lambda fd: pytest.fail("it was read"))
    path = save(tmp_path / "1.ckpt", 1)
    os.truncate(path, 1 << 40)
    with pytest.raises(CheckpointError, match=rf"1.ckpt has {1 << 40} bytes, its manifest says"):
        verify(path)
