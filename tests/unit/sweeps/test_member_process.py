"""A member is a process of its own, and the command hears what came of it, whatever came of it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nimble_lightning.runs import slot
from nimble_lightning.sweeps.member_process import DeviceShare, MemberProcess, cores, shares, speaking

ONE = DeviceShare(None, 1)


def run(folder: Path, work: Callable[[], Any]) -> MemberProcess:
    """A member that has come to its end."""
    member = MemberProcess(0, folder / "0", work)
    while not member.listen():
        pass
    return member


def test_a_member_answers_from_another_process(tmp_path: Path) -> None:
    member = MemberProcess(0, tmp_path, os.getpid)
    assert speaking([member], 10) == [member]
    assert member.listen()
    assert member.answer == member.pid != os.getpid()


def test_what_a_member_prints_is_in_its_own_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        print("to the terminal")
        os.write(2, b"past Python\n")

    run(tmp_path, work)
    assert (tmp_path / "0" / "log.txt").read_text() == "to the terminal\npast Python\n"
    assert capfd.readouterr() == ("", "")


def test_a_member_that_fails_or_is_killed_has_no_answer(tmp_path: Path) -> None:
    failed = run(tmp_path, lambda: 1 // 0)
    assert failed.answer is None
    assert not failed.killed
    assert "ZeroDivisionError" in (tmp_path / "0" / "log.txt").read_text()
    killed = run(tmp_path, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert killed.answer is None
    assert killed.killed


def test_it_sees_its_share_and_leaves_the_command_as_it_was(tmp_path: Path) -> None:
    before = dict(os.environ)

    def work() -> list[str]:
        slot.take()
        return [os.environ[name] for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")]

    member = MemberProcess(0, tmp_path, work)
    assert speaking([member], 0.1) == []
    member.give_slot(DeviceShare(("2", "3"), 4))
    assert member.listen()
    assert member.answer == ["2,3", "4"]
    assert dict(os.environ) == before


def test_it_says_when_its_seat_is_free_and_hurries_no_more(tmp_path: Path) -> None:
    def work() -> int:
        slot.leave()
        return os.nice(0)

    member = MemberProcess(0, tmp_path, work)
    assert [member.listen(), member.listen()] == [False, True]
    assert member.answer > os.nice(0)


def test_one_that_waits_is_dismissed(tmp_path: Path) -> None:
    member = MemberProcess(0, tmp_path, slot.take)
    member.dismiss()
    assert member.killed
    assert not Path(f"/proc/{member.pid}").exists()


def test_it_does_not_wait_for_a_command_that_is_gone(tmp_path: Path) -> None:
    member = MemberProcess(0, tmp_path, slot.take)
    member.line.close()
    assert os.WEXITSTATUS(os.waitpid(member.pid, 0)[1]) == 1


def test_what_is_to_be_done_then_waits_for_the_seat(tmp_path: Path) -> None:
    def work() -> list[str]:
        done: list[str] = []
        slot.then(lambda: done.append("begun"))
        done.append("ready")
        slot.take()
        return done

    member = MemberProcess(0, tmp_path, work)
    member.give_slot(ONE)
    assert member.listen()
    assert member.answer == ["ready", "begun"]


def test_anybody_else_has_all_there_is_at_once() -> None:
    done: list[str] = []
    slot.then(lambda: done.append("begun"))
    assert done == ["begun"]
    slot.take()
    slot.leave()


def test_ctrl_c_for_the_command_is_not_for_its_members(tmp_path: Path) -> None:
    member = run(tmp_path, os.getpgrp)
    assert member.answer == member.pid


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of the end of a parent")
def test_a_member_hears_of_the_end_of_its_command(tmp_path: Path) -> None:
    """The command is a fork of this process, killed while its member sleeps."""

    def command() -> None:
        member = MemberProcess(0, tmp_path / "inner", lambda: time.sleep(60))
        (tmp_path / "pid").write_text(str(member.pid))
        os.kill(os.getpid(), signal.SIGKILL)

    run(tmp_path, command)
    pid, until = int((tmp_path / "pid").read_text()), time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()


def test_devices_and_cores_are_shared_out() -> None:
    two = shares(2, fit=2, devices=["0", "1", "2", "3"], each=2)
    assert [share.devices for share in two] == [("0", "1"), ("2", "3")]
    assert {share.threads for share in two} == {max(1, cores() // 4)}


def test_more_members_than_devices_take_turns_on_them() -> None:
    three = shares(3, fit=2, devices=["5", "7"], each=1)
    assert [share.devices for share in three] == [("5",), ("7",), ("5",)]


def test_on_the_cpu_there_are_no_devices_to_hide() -> None:
    (share,) = shares(1, fit=1, devices=[], each=1)
    assert share.environment() == {"OMP_NUM_THREADS": str(cores())}
