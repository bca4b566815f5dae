"""The kernel's count of processes it killed for want of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from nimble_lightning.supervision.attempt import oom_kills


@pytest.mark.parametrize(
    ("membership", "file", "content"),
    [
        ("0::/user.slice\n", "user.slice/memory.events", "low 0\noom 3\noom_kill 2\n"),
        ("0::/\n", "memory.events", "oom_kill 2\noom_group_kill 0\n"),
        (
            "5:cpu:/\n4:hugetlb,memory:/docker/x\n",
            "memory/docker/x/memory.oom_control",
            "under_oom 0\noom_kill 2\n",
        ),
        ("4:memory:/elsewhere\n", "memory/memory.oom_control", "oom_kill 2\n"),
    ],
)
def test_it_is_read_from_either_version_of_control_groups(
    tmp_path: Path, membership: str, file: str, content: str
) -> None:
    (tmp_path / "cgroup").write_text(membership)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(content)
    assert oom_kills(tmp_path / "cgroup", tmp_path) == 2


def test_nothing_readable_counts_as_never(tmp_path: Path) -> None:
    assert oom_kills(tmp_path / "none", tmp_path) == 0
    (tmp_path / "cgroup").write_text("0::/gone\n")
    assert oom_kills(tmp_path / "cgroup", tmp_path) == 0


def test_the_real_one_can_be_asked() -> None:
    assert oom_kills() >= 0
