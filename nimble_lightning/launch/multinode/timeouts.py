"""Questions over a network that may have become silent: an answer in time, or none."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


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
