"""How a sweep goes, while it goes: a line for every retry and end, and in a terminal the members that run."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from nimble_lightning.sweeps.outcomes import MemberOutcome, told

if TYPE_CHECKING:
    from nimble_lightning.sweeps.run_progress import RunProgress

_LOOK_SECONDS = 0.5


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
        self._attempts: dict[int, int] = {}
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

    def started(self, number: int, words: Sequence[str], folder: Path) -> None:
        from nimble_lightning.sweeps.run_progress import standing

        self._running[number] = (time.monotonic(), " ".join(words))
        # Its first attempt now follows those of earlier commands, which are old news.
        self._attempts[number] = standing(folder).attempt + 1
        if not self._console.is_terminal:
            self._console.print(f"Job {number}: {' '.join(words)}", markup=False)

    def ended(self, outcome: MemberOutcome) -> None:
        failed = outcome.exit_code != 0
        self._done += 1
        self._failed += failed
        self._running.pop(outcome.number or 0, None)
        self._next = 0.0
        if failed and not self._console.is_terminal:
            print(told(outcome), file=sys.stderr, flush=True)
        else:
            self._console.print(told(outcome), markup=False, style="red" if failed else None)

    def look(self, folders: Mapping[int, Path]) -> None:
        """See how far those that run are, by their folders."""
        from nimble_lightning.sweeps.run_progress import standing

        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _LOOK_SECONDS
        found = {number: standing(folder) for number, folder in folders.items()}
        for number, where in found.items():
            self._tell_retry(number, where)
        if self._live.is_started:
            self._draw(found, now)

    def winding_down(self) -> None:
        self._console.print("No more members are started; Ctrl-C again stops those that run", style="yellow")

    def _tell_retry(self, number: int, where: RunProgress) -> None:
        if where.attempt > self._attempts[number]:
            self._attempts[number] = where.attempt
            self._console.print(
                f"Job {number}: {where.text}, after {where.reason}", markup=False, style="yellow"
            )

    def _draw(self, found: Mapping[int, RunProgress], now: float) -> None:
        table = Table(box=None, pad_edge=False, show_header=False)
        for number, where in found.items():
            since, words = self._running[number]
            table.add_row(f"job {number}", words, where.text, f"{now - since:.0f} s")
        failed = f", {self._failed} failed" if self._failed else ""
        table.add_row("", f"{self._done} of {self._most} done{failed}")
        self._live.update(table, refresh=True)
