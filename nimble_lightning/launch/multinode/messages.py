"""What the supervisors of one attempt tell each other, and how they notice that one is gone."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from nimble_lightning.errors import NimbleError
from nimble_lightning.launch.multinode.shared_secret import SignedStore
from nimble_lightning.runs.heartbeat import Beat, Phase
from nimble_lightning.runs.outcome import Evidence, Hang

BEAT_SECONDS = 0.5
# A machine that was silent for so long is gone, and so are its workers for the others.
SILENT_SECONDS = 10.0
LOOK_SECONDS = 0.05


T = TypeVar("T")


class OutOfTouch(NimbleError):
    """The store is gone, and with it the supervisor that leads."""


class SupervisorChannel:
    """Words by name and rank, in the store of one meeting. Whoever says nothing for long is taken for lost.

    Args:
        store: Of the meeting; used by nobody else, since whoever waits in it makes others wait.
        rank: Of this machine.
        size: How many there are.
    """

    def __init__(self, store: SignedStore, rank: int, size: int) -> None:
        self._store = store
        self._rank = rank
        self._others = [other for other in range(size) if other != rank]
        self._beats = 0
        self._next = 0.0
        self._heard = {other: ("", time.monotonic()) for other in self._others}

    def tell(self, what: str, words: Mapping[str, Any]) -> None:
        self._call(lambda: self._store.set(f"{what}/{self._rank}", words))

    def told(self, what: str, by: int) -> dict[str, Any] | None:
        """What one of them has said, if it has."""
        words: dict[str, Any] | None = self._get(f"{what}/{by}")
        return words

    def hear(self, what: str, by: int, until: Callable[[], bool]) -> dict[str, Any] | None:
        """Wait for what one of them says; None if it becomes pointless first."""
        while (words := self.told(what, by)) is None and not until():
            self.beat()
            time.sleep(LOOK_SECONDS)
        return words

    def beat(self) -> None:
        """Give a sign of life, now and then, and look for those of the others."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + BEAT_SECONDS
        self._beats += 1
        self._call(lambda: self._store.set(f"beat/{self._rank}", self._beats))
        for other in self._others:
            beat = str(self._get(f"beat/{other}"))
            if beat != self._heard[other][0]:
                self._heard[other] = beat, now

    def silent(self, seconds: float = SILENT_SECONDS) -> list[int]:
        """Those that have said nothing for some time."""
        now = time.monotonic()
        return [other for other, (_, at) in self._heard.items() if now - at > seconds]

    def _get(self, key: str) -> Any:
        return self._call(lambda: self._store.find(key))

    @staticmethod
    def _call(ask: Callable[[], Any]) -> Any:
        try:
            return within(SILENT_SECONDS, ask)
        except (RuntimeError, TimeoutError) as error:
            raise OutOfTouch(f"the node that led is gone: {str(error).partition(chr(10))[0]}") from None


class TimedQuestion:
    """Something that is asked in a thread of its own, which nobody has to wait for."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask = ask
        self._answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="question", daemon=True).start()

    def answer(self, seconds: float) -> Any:
        """What it came to, or the error it ended with.

        Raises:
            TimeoutError: There is none within that time; it can be asked for again.
        """
        try:
            value, error = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError("no answer") from None
        if error is not None:
            raise error
        return value

    def _run(self) -> None:
        try:
            self._answers.put((self._ask(), None))
        except BaseException as error:  # raised again where somebody asks for the answer
            self._answers.put((None, error))


def within(seconds: float, ask: Callable[[], T]) -> T:
    """The answer to a question that may block for ever.

    Raises:
        TimeoutError: There was none in time.
    """
    return TimedQuestion(ask).answer(seconds)  # type: ignore[no-any-return]


def evidence_in_words(evidence: Evidence) -> dict[str, Any]:
    """Evidence as plain values. Disks that are shared show new files late, so what ranks wrote is in it."""
    return asdict(evidence)


def evidence_of_words(words: Mapping[str, Any]) -> Evidence:
    """The same again: JSON knows numbers as keys only in quotes."""
    beats = {
        int(rank): Beat(**{**beat, "phase": Phase(beat["phase"])}) for rank, beat in words["beats"].items()
    }
    numbered = {
        name: {int(rank): value for rank, value in words[name].items()}
        for name in ("exit_codes", "gone", "lost")
    }
    hang = None if words["hang"] is None else Hang(**words["hang"])
    return Evidence(**{**words, **numbered, "beats": beats, "hang": hang})


def together(findings: Iterable[Evidence]) -> Evidence:
    """What several machines know of one attempt. Of several that hang, the first makes the others wait."""
    every = list(findings)
    hangs = [one.hang for one in every if one.hang is not None]
    return Evidence(
        finished=any(one.finished for one in every),
        errors=[error for one in every for error in one.errors],
        exit_codes={rank: code for one in every for rank, code in one.exit_codes.items()},
        beats={rank: beat for one in every for rank, beat in one.beats.items()},
        gone={rank: at for one in every for rank, at in one.gone.items()},
        hang=max(hangs, key=lambda hang: hang.seconds, default=None),
        out_of_memory=any(one.out_of_memory for one in every),
        trouble=next((one.trouble for one in every if one.trouble), None),
        lost={rank: host for one in every for rank, host in one.lost.items()},
    )


def of_lost(ranks: Iterable[int], host: str) -> Evidence:
    """All there is to know of the ranks of a machine that is gone: it was the first thing that happened."""
    lost = dict.fromkeys(ranks, host)
    return Evidence(lost=lost, gone=dict.fromkeys(lost, 0.0))
