"""A thousand events, a minute without network, and three kills of everything: none is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from endpoints import kill_group, sender_of, service, until, unused_port

from nimble_lightning.notifications import events

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

EVENTS, OUTAGE, KILLS = 1000, 60.0, 3
KINDS = ("best", "milestone", "alarm", "retrying")

# A run that goes on from where its outbox ends, and tells something ten times a second.
RUN = """
import os, sys, time
from pathlib import Path
from nimble_lightning.notifications import events
from nimble_lightning.notifications.sender import SenderSettings as Settings
from nimble_lightning.notifications.sender_process import SenderProcess
folder, count, kinds = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split()
sender = SenderProcess(folder, Settings(urls=[os.environ["HOOK"]], linger=600.0, pictures=False))
done = sum(1 for _ in events.read(folder))
for number in range(done, count):
    events.append(folder, kinds[number % len(kinds)], step=number)
    time.sleep(0.1)
sender.close()
"""


def begin(folder: Path, url: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", RUN, str(folder), str(EVENTS), " ".join(KINDS)]
    return subprocess.Popen(command, env={**os.environ, "HOOK": url}, start_new_session=True)


def kill_everything(folder: Path, run: subprocess.Popen[bytes]) -> None:
    kill_group(run.pid)
    run.wait()
    kill_group(sender_of(folder))


def test_nothing_is_lost_and_next_to_nothing_is_told_twice(tmp_path: Path) -> None:
    port, chance = unused_port(), random.Random(0)
    url = f"json://127.0.0.1:{port}/good"
    run = begin(tmp_path, url)
    assert until(lambda: (tmp_path / "outbox" / "sender.lock").exists())
    began, kills, received = time.monotonic(), 0, []
    # Up, then a minute of nothing with a kill in it, then up again with the other kills.
    for up, seconds, kill in ((True, 15, True), (False, OUTAGE / 2, True), (False, OUTAGE / 2, False)):
        received.append(spend(port, seconds, up=up))
        if kill:
            kill_everything(tmp_path, run)
            kills += 1
            run = begin(tmp_path, url)
    with service(port) as serving:
        time.sleep(chance.uniform(5, 25))
        kill_everything(tmp_path, run)
        kills += 1
        run = begin(tmp_path, url)
        everything = set(range(1, EVENTS + 1))
        told = received[0]
        assert until(lambda: set(serving.numbers()) | set(told) == everything, 500)
        told += serving.numbers()
    run.wait()
    twice = sum(told.values()) - EVENTS
    print(f"{time.monotonic() - began:.0f} s, {kills} kills, {twice} of {EVENTS} told twice")
    assert sum(1 for _ in events.read(tmp_path)) == EVENTS
    assert kills == KILLS
    assert twice <= EVENTS / 100


def spend(port: int, seconds: float, *, up: bool) -> dict[int, int]:
    """So much time with or without somebody who listens; how often each event was told in it."""
    if not up:
        time.sleep(seconds)
        return {}
    with service(port) as serving:
        time.sleep(seconds)
        return serving.numbers()
