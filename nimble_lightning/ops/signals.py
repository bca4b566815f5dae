"""What a signal asked for, remembered until a step is done. The handlers only set a flag."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from nimble_lightning.ops.exit_codes import ExitCode


class Asked:
    """Requests that arrived by signal: SIGTERM stops, SIGUSR1 saves.

    Attributes:
        stop: An end was asked for.
        save: A checkpoint was asked for.
        why: The reason for an end that no signal asked for.
        until: When, by the monotonic clock, time is over for all starts of the run together.
        supervised: Somebody watches this process and starts it again.
    """

    def __init__(self) -> None:
        self.stop = False
        self.save = False
        self.why = ""
        self.until = math.inf
        self.supervised = False
        self._patient = False
        self._before: dict[signal.Signals, Any] = {}

    @property
    def heard(self) -> bool:
        """Whether somebody looks at the flags at each step."""
        return self._patient

    def obey(self) -> None:
        """For a supervised process: SIGTERM ends it at once, except between `listen` and `release`."""
        self.supervised = True
        if _may_install():
            signal.signal(signal.SIGTERM, self._on_stop)

    def listen(self) -> None:
        """From now on somebody looks at the flags at each step; only a main thread may install handlers."""
        self.stop, self.save, self.why, self._patient = False, False, "", True
        if not _may_install() or self._before:
            return
        self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._on_stop)
        # A handler that is there already belongs to somebody who means something else by it.
        if signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL:
            self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._on_save)

    def release(self) -> None:
        """Nobody looks any more: the handlers are those from before."""
        self._patient = False
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop = True
        for handler in _of_the_project(self._before.get(signal.SIGTERM)):
            handler(number, frame)
        if not self._patient:
            raise SystemExit(ExitCode.TERMINATED)

    def _on_save(self, number: int, frame: FrameType | None) -> None:
        self.save = True


@contextmanager
def heard(wishes: list[signal.Signals]) -> Iterator[None]:
    """While the block runs, collect Ctrl-C, SIGTERM and SIGHUP in the list instead of ending."""
    if not _may_install():
        yield
        return

    def hear(number: int, frame: FrameType | None) -> None:
        wishes.append(signal.Signals(number))

    before = {number: signal.signal(number, hear) for number in _ends()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def obeyed(wishes: list[signal.Signals]) -> Iterator[None]:
    """While the block runs, SIGTERM ends as `Asked.obey` says; the others too, and are added to the list."""
    if not _may_install():
        yield
        return

    def hear(number: int, frame: FrameType | None) -> None:
        wishes.append(signal.Signals(number))
        # Whoever trains listens to this one.
        signal.raise_signal(signal.SIGTERM)

    before = {number: signal.getsignal(number) for number in _ends()}
    asked.obey()
    for number in before.keys() - {signal.SIGTERM}:
        signal.signal(number, hear)
    try:
        yield
    finally:
        asked.supervised, asked.until = False, math.inf
        for number, handler in before.items():
            signal.signal(number, handler)


def _ends() -> list[signal.Signals]:
    """What asks for an end; under nohup the end of the terminal does not."""
    hangup = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hangup]


def _of_the_project(handler: Any) -> list[Any]:
    """What there is of a project's own in a handler: Lightning joins its own with it, and we may be in it."""
    parts = getattr(handler, "signal_handlers", [handler])
    known = ("lightning.", "lightning_fabric.", "pytorch_lightning.", "nimble_lightning.")
    owners = ((part, f"{type(getattr(part, '__self__', None)).__module__}.") for part in parts)
    return [part for part, owner in owners if callable(part) and not owner.startswith(known)]


def _may_install() -> bool:
    return threading.current_thread() is threading.main_thread()


asked = Asked()
