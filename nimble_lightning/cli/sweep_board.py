"""How a sweep goes, while it goes: a line for every end, and in a terminal the members that run."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from nimble_lightning.cli.task import Outcome, told

_REDRAW_SECONDS = 0.5


class Board:
    """Shows a sweep on the terminal.

    Args:
        members: What is varied in each member.
        console: Where to show it; standard output unless given.
    """

    def __init__(self, members: Mapping[int, tuple[str, ...]], console: Console | None = None) -> None:
        self._members = members
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._since: dict[int, float] = {}
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

    def started(self, number: int) -> None:
        self._since[number] = time.monotonic()
        if not self._console.is_terminal:
            self._console.print(f"Job {number}: {' '.join(self._members[number])}", markup=False)

    def ended(self, number: int, answer: Outcome | None) -> None:
        self._done += 1
        self._failed += answer is None or answer.exit_code != 0
        self._since.pop(number, None)
        self._next = 0.0
        text = told(answer) if answer is not None else f"Job {number}: its process was killed again and again"
        failed = answer is None or answer.exit_code != 0
        if failed and not self._console.is_terminal:
            print(text, file=sys.stderr, flush=True)
        else:
            self._console.print(text, markup=False, style="red" if failed else None)

    def look(self, steps: Mapping[int, int | None]) -> None:
        now = time.monotonic()
        if not self._live.is_started or now < self._next:
            return
        self._next = now + _REDRAW_SECONDS
        table = Table(box=None, pad_edge=False, show_header=False)
        for number, step in steps.items():
            seconds = now - self._since.get(number, now)
            how_far = "starting" if not step else f"step {step}"
            table.add_row(f"job {number}", " ".join(self._members[number]), how_far, f"{seconds:.0f} s")
        failed = f", {self._failed} failed" if self._failed else ""
        table.add_row("", f"{self._done} of {len(self._members)} done{failed}")
        self._live.update(table, refresh=True)
