"""Two ways to show a progress line: redrawn in place in a terminal, or printed now and then."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nimble_lightning.ops.progress_line import Position, line

_BAR_COLUMNS = 16
_FIRST_LINE_SECONDS = 5.0
_SHORTEST_WAIT_SECONDS = 1.0


class Display(Protocol):
    """Shows positions; the caller asks beforehand how long it can spare itself the trouble."""

    def wait(self) -> float:
        """For how many seconds nothing needs to be shown."""

    def show(self, position: Position, *, milestone: bool = False) -> None:
        """Show a position; a milestone is the end of an epoch."""

    def close(self) -> None:
        """Leave the terminal as it was found, with the last position on it."""


def display(console: Console, per_second: float, longest_wait: float) -> Display:
    """The display that suits the console."""
    if console.is_interactive and not console.is_jupyter:
        return LiveLine(console, per_second)
    return PlainLines(console, longest_wait)


class LiveLine:
    """One line, redrawn in place. What is printed meanwhile appears above it."""

    def __init__(self, console: Console, per_second: float) -> None:
        self._console = console
        self._wait = 1 / per_second
        self._last: Position | None = None
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()
        # Rich hides the cursor; a process that is killed could never bring it back.
        console.show_cursor(True)

    def wait(self) -> float:
        return self._wait

    def show(self, position: Position, *, milestone: bool = False) -> None:
        self._last = position
        self._live.update(self._render(position), refresh=True)

    def close(self) -> None:
        self._live.stop()
        if self._last is not None:
            _print(self._console, self._last)

    def _render(self, position: Position) -> Table:
        columns = min(self._console.width, 160)
        text = Text(line(position, columns - _BAR_COLUMNS - 2), no_wrap=True, overflow="crop")
        bar = ProgressBar(total=1.0, completed=position.fraction or 0.0, width=_BAR_COLUMNS)
        table = Table.grid(padding=(0, 1))
        table.add_row(bar, text)
        return table


class PlainLines:
    """Lines of text, the next one after twice the wait of the one before, up to the longest wait."""

    def __init__(self, console: Console, longest_wait: float) -> None:
        self._console = console
        self._longest = longest_wait
        self._wait = min(_FIRST_LINE_SECONDS, longest_wait)
        self._printed_at = float("-inf")
        self._printed: Position | None = None
        self._last: Position | None = None

    def wait(self) -> float:
        return self._wait

    def show(self, position: Position, *, milestone: bool = False) -> None:
        self._last = position
        now = time.monotonic()
        # Epochs of a few milliseconds would otherwise fill the log.
        if milestone and now - self._printed_at < _SHORTEST_WAIT_SECONDS:
            return
        if not milestone:
            self._wait = min(self._wait * 2, self._longest)
        self._printed_at, self._printed = now, position
        _print(self._console, position)

    def close(self) -> None:
        if self._last is not None and self._last is not self._printed:
            _print(self._console, self._last)


def _print(console: Console, position: Position) -> None:
    width = console.width if console.is_terminal else 100
    console.print(line(position, width), soft_wrap=True, markup=False, highlight=False)
