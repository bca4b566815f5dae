"""What happens to a run is told, whoever is dead: endpoints, the network, the sender, the run itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import lightning as L
import pytest
from endpoints import ANSWERING, Service, kill_group, sender_of, service, until, unused_port
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

from nimble_lightning.callbacks import Notification
from nimble_lightning.notifications import events
from nimble_lightning.notifications.sender import SenderSettings
from nimble_lightning.notifications.sender_process import COALESCE, LINGER, SenderProcess
from nimble_lightning.runs.process_tree import alive

Start = Callable[..., SenderProcess]


@pytest.fixture
def good() -> Iterator[Service]:
    with service() as serving:
        yield serving


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts senders, and leaves none."""
    started: list[SenderProcess] = []

    def begin(folder: Path, *urls: str, linger: float = 30.0) -> SenderProcess:
        settings = SenderSettings(urls=list(urls), linger=linger, coalesce=0.2, pictures=False)
        started.append(SenderProcess(folder, settings))
        return started[-1]

    yield begin
    for sender in started:
        sender.close()
        kill_group(sender.pid)


def test_five_dead_endpoints_cost_the_run_and_the_living_one_nothing(
    tmp_path: Path, good: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LINGER, "60")
    monkeypatch.setenv(COALESCE, "0.2")
    notification = Notification([*good.dead, good.url], pictures=False)
    quiet = {"logger": False, "enable_model_summary": False, "enable_progress_bar": False}
    trainer = L.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_steps=64,
        enable_checkpointing=False,
        callbacks=[notification],
        **quiet,
    )
    trainer.fit(BoringModel(), datamodule=BoringDataModule())
    told = {n for n, _ in enumerate(events.read(tmp_path), start=1)}
    try:
        assert until(lambda: set(good.numbers()) == told)
        assert set(good.numbers().values()) == {1}
        # Those that answer; the others are given up after a while, see test_send_one.py.
        log = tmp_path / "outbox" / "sender.log"
        assert until(lambda: log.read_text().count("waiting") == len(ANSWERING)), log.read_text()
    finally:
        kill_group(sender_of(tmp_path))


def test_an_outage_and_kills_of_the_sender_lose_nothing(tmp_path: Path, start: Start) -> None:
    port, kills, count = unused_port(), 3, 30
    url = f"json://127.0.0.1:{port}/good"
    log = tmp_path / "outbox" / "sender.log"
    sender = start(tmp_path, url)
    for _ in range(count):
        events.append(tmp_path, "best")
    assert until(lambda: log.exists() and "waiting" in log.read_text())
    kill_group(sender.pid)
    with service(port) as serving:
        for _ in range(kills - 1):
            before = len(serving.messages)
            sender = start(tmp_path, url)
            events.append(tmp_path, "alarm")
            assert until(lambda before=before: len(serving.messages) > before)
            kill_group(sender.pid)
        start(tmp_path, url).close()
        assert until(lambda: set(serving.numbers()) == set(range(1, count + kills)))
        again = sum(serving.numbers().values()) - (count + kills - 1)
        # A kill between a message's arrival and its record tells that one message again.
        assert again <= count


def test_what_could_not_be_delivered_the_next_start_delivers_once(
    tmp_path: Path, start: Start, good: Service
) -> None:
    events.append(tmp_path, "started")
    events.append(tmp_path, "finished")
    nobody = f"json://127.0.0.1:{unused_port()}/"
    first = start(tmp_path, nobody, linger=0.5)
    first.close()
    assert until(lambda: "not delivered" in (tmp_path / "outbox" / "sender.log").read_text())
    for _ in range(2):
        sender = start(tmp_path, good.url)
        sender.close()
        assert until(lambda pid=sender.pid: not alive(pid))
    assert good.numbers() == {1: 1, 2: 1}


def test_a_newer_sender_takes_over_and_tells_nothing_twice(
    tmp_path: Path, start: Start, good: Service
) -> None:
    first = start(tmp_path, good.url)
    events.append(tmp_path, "started")
    assert until(lambda: len(good.messages) == 1)
    second = start(tmp_path, good.url)
    assert until(lambda: sender_of(tmp_path) == second.pid)
    assert os.waitpid(first.pid, 0)[1] == 0
    events.append(tmp_path, "best")
    assert until(lambda: len(good.messages) == 2)
    assert good.numbers() == {1: 1, 2: 1}


KILLED = """
import os, signal, sys
from pathlib import Path
from nimble_lightning.notifications import events
from nimble_lightning.notifications.sender import SenderSettings as Settings
from nimble_lightning.notifications.sender_process import SenderProcess
folder = Path(sys.argv[1])
events.append(folder, "started", name="digits")
sender = SenderProcess(folder, Settings(urls=[os.environ["HOOK"]], resume="the same again", coalesce=0.2))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_that_is_killed_is_told_of_by_its_sender(tmp_path: Path, good: Service) -> None:
    environment = {**os.environ, "HOOK": good.url}
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], env=environment)
    assert done.returncode == -signal.SIGKILL
    assert until(lambda: len(good.messages) == 2)
    begun, failed = good.messages
    assert begun["title"] == "digits started"
    assert "ended without a word" in failed["message"]
    assert "To resume: the same again" in failed["message"]


def notify(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from nimble_lightning.commands.main import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, "notify", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_the_command_delivers_what_is_left(tmp_path: Path, good: Service) -> None:
    events.append(tmp_path, "started")
    done = notify(tmp_path, NIMBLE_NOTIFICATION_URLS=good.url)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1 of 1 delivered"), done.stderr
    assert good.numbers() == {1: 1}
    again = notify(tmp_path, NIMBLE_NOTIFICATION_URLS=good.url)
    assert again.stdout.splitlines()[-1] == "0 of 0 delivered"


def test_the_command_tries_each_address_and_says_what_came_of_it(good: Service) -> None:
    broken = good.url.replace("good", "500")
    done = notify("--test", "secret:A", "secret:B", A=good.url, B=broken)
    assert done.returncode == 1
    first, second = done.stdout.splitlines()
    assert first.startswith("delivered")
    assert second.startswith("FAILED")
    assert "error=500" in second
    assert len(good.messages) == 1


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    for words in ([], [tmp_path], ["--test"]):
        done = notify(*words, NIMBLE_NOTIFICATION_URLS="")
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
