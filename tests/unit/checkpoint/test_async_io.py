"""A save in the background writes what the state was, one at a time, and never hides an error."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from checkpoint_cases import fail_at, state

from nimble_lightning.checkpoint import AsyncNimbleCheckpointIO, fault_points, newest_whole, verify


@pytest.fixture
def io() -> Iterator[AsyncNimbleCheckpointIO]:
    plugin = AsyncNimbleCheckpointIO()
    yield plugin
    plugin.teardown()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds every save at its first stage until it is set."""
    event = threading.Event()
    fault_points.set_hook(lambda stage: event.wait(20) and None if stage == "open" else None)
    yield event
    event.set()


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.ckpt"))


def test_what_is_written_is_the_state_at_the_call(
    tmp_path: Path, io: AsyncNimbleCheckpointIO, gate: threading.Event
) -> None:
    live = state(1)
    live["callbacks"] = {"best": {"scores": [1.0]}}
    io.save_checkpoint(live, tmp_path / "1.ckpt")
    live["state_dict"]["weight"].zero_()
    live["callbacks"]["best"]["scores"].append(2.0)
    assert not (tmp_path / "1.ckpt").exists()
    gate.set()
    loaded = io.load_checkpoint(tmp_path / "1.ckpt")
    assert torch.equal(loaded["state_dict"]["weight"], state(1)["state_dict"]["weight"])
    assert loaded["callbacks"] == {"best": {"scores": [1.0]}}


def test_a_second_save_waits_for_the_first(
    tmp_path: Path, io: AsyncNimbleCheckpointIO, gate: threading.Event
) -> None:
    io.save_checkpoint(state(1), tmp_path / "1.ckpt")
    second = threading.Thread(target=io.save_checkpoint, args=(state(2), tmp_path / "2.ckpt"))
    second.start()
    second.join(0.1)
    assert second.is_alive()
    gate.set()
    second.join()
    assert verify(tmp_path / "1.ckpt").step == 1
    io.wait()
    assert verify(tmp_path / "2.ckpt").step == 2


@pytest.mark.parametrize("how", ["poll", "save", "teardown"])
def test_an_error_is_raised_once_at_the_next_occasion(
    tmp_path: Path, io: AsyncNimbleCheckpointIO, how: str
) -> None:
    io.poll()
    fault_points.set_hook(fail_at("fsync", errno.ENOSPC))
    io.save_checkpoint(state(1), tmp_path / "1.ckpt")
    io.wait()
    fault_points.set_hook(None)
    occasion = {
        "poll": io.poll,
        "save": lambda: io.save_checkpoint(state(2), tmp_path / "2.ckpt"),
        "teardown": io.teardown,
    }[how]
    with pytest.raises(OSError, match="No space"):
        occasion()
    io.poll()
    io.save_checkpoint(state(3), tmp_path / "3.ckpt")
    io.wait()
    assert checkpoints(tmp_path) == ["3.ckpt"]


def test_an_old_checkpoint_stays_until_the_new_one_is_committed(
    tmp_path: Path, io: AsyncNimbleCheckpointIO, gate: threading.Event
) -> None:
    gate.set()
    for step in (1, 2, 3):
        io.save_checkpoint(state(step), tmp_path / f"{step}.ckpt")
    io.wait()
    gate.clear()
    io.save_checkpoint(state(4), tmp_path / "4.ckpt")
    io.remove_checkpoint(tmp_path / "3.ckpt")
    assert checkpoints(tmp_path) == ["1.ckpt", "2.ckpt", "3.ckpt"]
    gate.set()
    io.teardown()
    assert checkpoints(tmp_path) == ["1.ckpt", "2.ckpt", "4.ckpt"]


def test_what_a_failed_save_was_to_replace_stays(tmp_path: Path, io: AsyncNimbleCheckpointIO) -> None:
    for step in (1, 2, 3):
        io.save_checkpoint(state(step), tmp_path / f"{step}.ckpt")
    io.wait()
    fault_points.set_hook(fail_at("half", errno.EIO))
    io.save_checkpoint(state(4), tmp_path / "4.ckpt")
    io.remove_checkpoint(tmp_path / "3.ckpt")
    with pytest.raises(OSError, match="Errno"):
        io.teardown()
    found = newest_whole(tmp_path)
    assert found is not None
    assert found.manifest.step == 3


def test_one_checkpoint_at_a_time_keeps_two_on_the_disk(tmp_path: Path, io: AsyncNimbleCheckpointIO) -> None:
    for step in range(6):
        io.save_checkpoint(state(step), tmp_path / f"{step}.ckpt")
        if step:
            io.remove_checkpoint(tmp_path / f"{step - 1}.ckpt")
    io.teardown()
    assert checkpoints(tmp_path) == ["4.ckpt", "5.ckpt"]


def test_it_works_after_teardown_and_leaves_no_thread(tmp_path: Path, io: AsyncNimbleCheckpointIO) -> None:
    for step in (1, 2):
        io.save_checkpoint(state(step), tmp_path / f"{step}.ckpt")
        io.teardown()
    assert checkpoints(tmp_path) == ["1.ckpt", "2.ckpt"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("checkpoint")]
