"""Signals become wishes only while somebody looks at them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.signals import Asked, heard


@pytest.fixture
def asked() -> Iterator[Asked]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield Asked()
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_while_somebody_listens_a_signal_is_only_remembered(asked: Asked) -> None:
    asked.listen()
    send(signal.SIGTERM)
    send(signal.SIGUSR1)
    assert asked.stop
    assert asked.save


def test_listening_anew_forgets_what_was_asked_before(asked: Asked) -> None:
    asked.listen()
    send(signal.SIGTERM)
    asked.listen()
    assert not asked.stop


def test_afterwards_the_handlers_are_those_from_before(asked: Asked) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    asked.listen()
    asked.listen()
    asked.release()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before


def test_a_supervised_process_ends_at_once_before_and_after_listening(asked: Asked) -> None:
    asked.obey()
    with pytest.raises(SystemExit, match=str(ExitCode.TERMINATED)):
        send(signal.SIGTERM)
    asked.listen()
    send(signal.SIGTERM)
    asked.release()
    with pytest.raises(SystemExit, match=str(ExitCode.TERMINATED)):
        send(signal.SIGTERM)


def test_outside_the_main_thread_nothing_is_installed(asked: Asked) -> None:
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=asked.listen)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before
    asked.release()


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN], ids=["in a terminal", "under nohup"])
def test_the_end_of_the_terminal_is_a_wish_unless_nobody_minds(before: signal.Handlers) -> None:
    kept = signal.signal(signal.SIGHUP, before)
    wishes: list[signal.Signals] = []
    with heard(wishes):
        send(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == before
    signal.signal(signal.SIGHUP, kept)
    assert wishes == ([signal.SIGHUP] if before == signal.SIG_DFL else [])
