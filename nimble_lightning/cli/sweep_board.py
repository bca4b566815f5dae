"""How a sweep goes, while it goes: a line for every end, and in a terminal the members that run."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from nimble_lightning.cli.task import Outcome, told

_REDRAW_SECONDS = 0.5


class Board:
    """Shows a sweep on the terminal.

    Args:
        most: How many members there are going to be.
        console: Where to show it; standard output unless given.
    """

    def __init__(self, most: int, console: Console | None = None) -> None:
        self._most = most
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._running: dict[int, tuple[float, str]] = {}
        self._done = self._failed = 0
        self._next = 0.0
        # It redraws when told to: a thread that does would not survive the forks of the members.
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Board:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def started(self, number: int, words: Sequence[str]) -> None:
        self._running[number] = (time.monotonic(), " ".join(words))
        if not self._console.is_terminal:
            self._console.print(f"Job {number}: {' '.join(words)}", markup=False)

    def ended(self, outcome: Outcome) -> None:
        failed = outcome.exit_code != 0
        self._done += 1
        self._failed += failed
        self._running.pop(outcome.number or 0, None)
        self._next = 0.0
        if failed and not self._console.is_terminal:
            print(told(outcome), file=sys.stderr, flush=True)
        else:
            self._console.print(told(outcome), markup=False, style="red" if failed else None)

    def look(self, steps: Mapping[int, int | None]) -> None:
        now = time.monotonic()
        if not self._live.is_started or now < self._next:
            return
        self._next = now + _REDRAW_SECONDS
        table = Table(box=None, pad_edge=False, show_header=False)
        for number, (since, words) in self._running.items():
            how_far = f"step {steps[number]}" if steps.get(number) else "starting"
            table.add_row(f"job {number}", words, how_far, f"{now - since:.0f} s")
        failed = f", {self._failed} failed" if self._failed else ""
        table.add_row("", f"{self._done} of {self._most} done{failed}")
        self._live.update(table, refresh=True)
