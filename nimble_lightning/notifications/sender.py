"""The process that delivers what lies in an outbox: `python -m nimble_lightning.notifications.sender FOLDER`.

Its settings come through standard input, since addresses have no place on a command line. The end of that
input is the end of the run, however the run ended; then what is left is delivered for a while.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from nimble_lightning.errors import NimbleError
from nimble_lightning.notifications import events, send_one
from nimble_lightning.notifications.addresses import Address, find
from nimble_lightning.notifications.delivery_plan import COALESCE_SECONDS, Lane
from nimble_lightning.notifications.events import ENDS, EventKind
from nimble_lightning.notifications.message_writer import MessageWriter
from nimble_lightning.notifications.outbox import Delivered, OutboxLock, Tail
from nimble_lightning.ops import secrets
from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.run_folder import OUTBOX

LOG = "sender.log"
LOOK_SECONDS = 0.25
LINGER_SECONDS = 300.0


@dataclass(frozen=True)
class SenderSettings:
    """What a sender is told by whoever starts it; plain JSON.

    Attributes:
        urls: As in the configuration, with references resolved as far as only the starter can.
        events: As in the configuration.
        templates: A folder of templates to be used instead of the shipped ones.
        pictures: Whether a finished run sends its curve and first samples too.
        linger: Seconds for which what is left is delivered after the end.
        coalesce: At most one message a kind in so many seconds.
        resume: The command that continues the run, for when nobody is left to say it.
    """

    urls: Any = None
    events: Any = None
    templates: str | None = None
    pictures: bool = True
    linger: float = LINGER_SECONDS
    coalesce: float = COALESCE_SECONDS
    resume: str | None = None


@dataclass
class Sender:
    """Delivers to each address at its own pace; one thread, a short-lived process for each message.

    Args:
        folder: Of the run.
        addresses: Whom to tell.
        settings: How.
        say: Where it says what a person who looks for a missing message wants to know.
    """

    folder: Path
    addresses: list[Address]
    settings: SenderSettings
    say: Callable[[str], None] = print
    lanes: dict[str, Lane] = field(init=False)

    def __post_init__(self) -> None:
        self.lanes = {a.key: Lane(self.settings.coalesce) for a in self.addresses}
        self._writer = MessageWriter(self.settings.templates)
        self._tail = Tail(self.folder)
        self._delivered = Delivered(self.folder)
        self._delivered.join(self.lanes)
        self._attempts: dict[str, send_one.DeliveryAttempt] = {}
        self._goes_on = False
        for key, kind, when in self._delivered.messages:
            if key in self.lanes:
                self.lanes[key].was_sent(kind, when)

    @property
    def pending(self) -> int:
        return sum(lane.pending for lane in self.lanes.values())

    @property
    def busy(self) -> bool:
        """Whether a message is on its way."""
        return bool(self._attempts)

    def turn(self, *, sending: bool = True) -> None:
        """Read what is new, see what has arrived, send what is due."""
        self._read()
        now = time.time()
        for key in list(self._attempts):
            self._look_at(key, now)
        if sending:
            for address in self.addresses:
                self._send(address, now)

    def finish_attempts(self) -> None:
        """Wait for the messages on their way, and start no more."""
        while self._attempts:
            self.turn(sending=False)
            time.sleep(LOOK_SECONDS / 5)

    def say_if_killed(self) -> None:
        """A run whose last word is that it began was killed with everything that could have said so."""
        self._read()
        if not self._goes_on:
            return
        with contextlib.suppress(OSError):
            events.append(
                self.folder,
                EventKind.FAILED,
                cause=Cause.KILLED,
                reason="the process of the run ended without a word: killed, or the machine went down",
                command=self.settings.resume,
            )

    def _read(self) -> None:
        for numbered in self._tail.read():
            kind = numbered.event.kind
            self._goes_on = kind == EventKind.STARTED or (self._goes_on and kind not in ENDS)
            for address in self.addresses:
                if kind in address.kinds and not self._delivered.has(address.key, numbered.event):
                    self.lanes[address.key].add(numbered)

    def _look_at(self, key: str, now: float) -> None:
        attempt, lane = self._attempts[key], self.lanes[key]
        answer = attempt.ended()
        if answer is None:
            if now > attempt.deadline + 1:
                attempt.kill()
            return
        del self._attempts[key]
        attempt.close()
        was_open = lane.breaker.is_open
        if answer == "":
            if lane.breaker.failures:
                self.say(f"{attempt.address.label}: answers again")
            self._delivered.remember(key, attempt.batch)
            lane.succeeded(attempt.batch, now)
            if self.settings.pictures and attempt.batch.kind == EventKind.FINISHED:
                send_one.start_pictures(self.folder, attempt.address)
            return
        lane.failed(now)
        if lane.breaker.failures == 1 or (lane.breaker.is_open and not was_open):
            self.say(f"{attempt.address.label}: {answer} ({lane.pending} waiting)")

    def _send(self, address: Address, now: float) -> None:
        if address.key in self._attempts or (batch := self.lanes[address.key].due(now)) is None:
            return
        work = partial(send_one.deliver, self.folder, address, batch, self._writer)
        try:
            self._attempts[address.key] = send_one.start(address, batch, now, work)
        except OSError as error:
            # No process to be had on this machine just now.
            self.say(f"{address.label}: {error}")
            self.lanes[address.key].failed(now)


def main(folder: Path) -> int:
    """Deliver until the run has ended and nothing is left, or for `linger` seconds after that."""
    # Before the first moment in which a Ctrl-C for the run could reach this process too.
    with contextlib.suppress(PermissionError):
        os.setsid()
    # Where every core is busy, training comes first.
    os.nice(10)
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    settings = SenderSettings(**json.loads(sys.stdin.buffer.readline() or b"{}"))
    with OutboxLock(folder, take_over=True):
        try:
            sender = Sender(folder, find(settings.urls, settings.events), settings, _say)
        except NimbleError as error:
            _say(str(error))
            return 2
        _serve(sender, asked)
        if sender.pending:
            _say(f"{sender.pending} not delivered; nimble-cli notify {folder} delivers them")
    return 0


def _serve(sender: Sender, asked: list[int]) -> None:
    until = float("inf")
    while not asked and time.monotonic() < until:
        if not (sender.folder / OUTBOX).is_dir():
            return
        if until == float("inf") and _has_ended():
            until = time.monotonic() + sender.settings.linger
            sender.say_if_killed()
        sender.turn()
        if until < float("inf"):
            if not sender.pending:
                return
            time.sleep(LOOK_SECONDS if not sender.busy else LOOK_SECONDS / 5)
    sender.finish_attempts()


def _has_ended() -> bool:
    """Whether the run is over: its end of the pipe is closed. Waits a moment for that."""
    readable, _, _ = select.select([sys.stdin], [], [], LOOK_SECONDS)
    return bool(readable) and not os.read(sys.stdin.fileno(), 4096)


def _say(text: str) -> None:
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):
        print(f"{when} {secrets.redact(text)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
