"""A rank's signs of life can be read from outside, also after its death."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from nimble_lightning.runs.heartbeat import Heart, Phase, read


def test_the_last_beat_can_be_read(tmp_path: Path) -> None:
    heart = Heart(tmp_path / "heart")
    heart.beat(3, Phase.TRAINING)
    heart.beat(4, Phase.SAVING)
    last = read(tmp_path / "heart")
    assert last is not None
    assert (last.pid, last.count, last.step, last.phase) == (os.getpid(), 2, 4, Phase.SAVING)


def test_before_the_first_beat_there_is_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "heart") is None
    Heart(tmp_path / "heart")
    assert read(tmp_path / "heart") is None
    (tmp_path / "half").write_bytes(b"123")
    assert read(tmp_path / "half") is None


def test_a_killed_process_leaves_its_last_beat(tmp_path: Path) -> None:
    if (pid := os.fork()) == 0:
        Heart(tmp_path / "heart").beat(12, Phase.VALIDATING)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    last = read(tmp_path / "heart")
    assert last is not None
    assert (last.pid, last.step) == (pid, 12)


def test_no_beat_is_ever_seen_half_written(tmp_path: Path) -> None:
    """Looked at again and again while another process does nothing but beat."""
    if (pid := os.fork()) == 0:
        heart = Heart(tmp_path / "heart")
        while True:
            heart.beat(7, Phase.TRAINING)
    try:
        while read(tmp_path / "heart") is None:
            pass
        seen = [read(tmp_path / "heart") for _ in range(20_000)]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert {(beat.pid, beat.step, beat.time > 0) for beat in seen if beat} == {(pid, 7, True)}
    assert None not in seen
