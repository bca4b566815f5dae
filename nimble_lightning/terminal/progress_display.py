"""Two ways to show a progress line: redrawn in place in a terminal, or printed now and then."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol, TextIO, cast

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nimble_lightning.terminal.progress_line import ProgressPosition, line

_BAR_COLUMNS = 8
_MOST_COLUMNS = 160
_ERASE = "\x1b[2K"
_FIRST_LINE_SECONDS = 5.0
_SHORTEST_WAIT_SECONDS = 1.0


class Display(Protocol):
    """Shows positions; the caller asks beforehand how long it can spare itself the trouble."""

    def wait(self) -> float:
        """For how many seconds nothing needs to be shown."""

    def show(self, position: ProgressPosition, *, milestone: bool = False) -> None:
        """Show a position; a milestone is the end of an epoch."""

    def close(self) -> None:
        """Leave the terminal as it was found, with the last position on it."""


def display(console: Console, per_second: float, longest_wait: float) -> Display:
    """The display that suits the console."""
    if console.is_interactive and not console.is_jupyter:
        return LiveLine(console, per_second)
    return PlainLines(console, longest_wait)


class LiveLine:
    """One line, redrawn in place. What is printed meanwhile goes above it, unchanged, to where it was going.

    Not `rich.live`: that sends what others print through its own console, mixed with control codes, so
    that a copy of the output kept in a file would lose it; and it hides the cursor, which a killed
    process never brings back.
    """

    def __init__(self, console: Console, per_second: float) -> None:
        self._console = console
        self._wait = 1 / per_second
        self._out = console.file
        self._last: ProgressPosition | None = None
        self._drawn = False
        self._at_line_start = True
        self._replaced = sys.stdout, sys.stderr
        self._proxies = _Above(sys.stdout, self), _Above(sys.stderr, self)
        sys.stdout, sys.stderr = cast("tuple[TextIO, TextIO]", self._proxies)

    def wait(self) -> float:
        return self._wait

    def show(self, position: ProgressPosition, *, milestone: bool = False) -> None:
        self._last = position
        text = self._render(position)
        self._out.write(f"\r{_ERASE}{text}" if self._at_line_start else f"\n\r{text}")
        self._out.flush()
        self._drawn = self._at_line_start = True

    def before_print(self, text: str) -> None:
        """Make room for what somebody else is about to print."""
        if self._drawn:
            self._out.write(f"\r{_ERASE}")
            self._out.flush()
            self._drawn = False
        self._at_line_start = text.endswith("\n")

    def close(self) -> None:
        self.before_print("\n")
        # Somebody who put a stream of their own over ours meanwhile keeps it.
        for name, stream, proxy in zip(("stdout", "stderr"), self._replaced, self._proxies, strict=True):
            if getattr(sys, name) is proxy:
                setattr(sys, name, stream)
        if self._last is not None:
            _print(self._console, self._last)

    def _render(self, position: ProgressPosition) -> str:
        columns = min(self._console.width, _MOST_COLUMNS) - _BAR_COLUMNS - 2
        bar = ProgressBar(total=1.0, completed=position.fraction or 0.0, width=_BAR_COLUMNS)
        table = Table.grid(padding=(0, 1))
        table.add_row(bar, Text(line(position, columns), no_wrap=True, overflow="crop"))
        with self._console.capture() as rendered:
            self._console.print(table, end="")
        return rendered.get().rstrip("\n")


class _Above:
    """A stream that clears the live line before it writes."""

    def __init__(self, stream: TextIO, live: LiveLine) -> None:
        self._stream = stream
        self._live = live

    def write(self, text: str) -> int:
        if text:
            self._live.before_print(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class PlainLines:
    """Lines of text, the next one after twice the wait of the one before, up to the longest wait."""

    def __init__(self, console: Console, longest_wait: float) -> None:
        self._console = console
        self._longest = longest_wait
        self._wait = min(_FIRST_LINE_SECONDS, longest_wait)
        self._due = time.monotonic() + self._wait
        self._printed_at = float("-inf")
        self._printed: ProgressPosition | None = None
        self._last: ProgressPosition | None = None

    def wait(self) -> float:
        return self._due - time.monotonic()

    def show(self, position: ProgressPosition, *, milestone: bool = False) -> None:
        self._last = position
        now = time.monotonic()
        # Epochs of a few milliseconds would otherwise fill the log.
        if now < (self._printed_at + _SHORTEST_WAIT_SECONDS if milestone else self._due):
            return
        if not milestone:
            self._wait = min(self._wait * 2, self._longest)
        self._due = now + self._wait
        self._printed_at, self._printed = now, position
        _print(self._console, position)

    def close(self) -> None:
        if self._last is not None and self._last is not self._printed:
            _print(self._console, self._last)


def _print(console: Console, position: ProgressPosition) -> None:
    width = console.width if console.is_terminal else 100
    console.print(line(position, width), soft_wrap=True, markup=False, highlight=False)
