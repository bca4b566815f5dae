"""A command, and everything that is left of it: processes by a variable they inherit, files in a folder."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
from external_launchers import until

from nimble_lightning.ops.run_files import read_json
from nimble_lightning.run_folder import RunFolder

CANARY = "TEST_CANARY"
FOLDER = Path("outputs/leftovers/some")
# How long what is left may take to find that it is.
SECONDS = 15.0
SETTINGS = (
    f"trainer={Path(__file__).with_name('leftovers_trainer.py')}",
    "name=leftovers",
    "run_id=some",
    "lightning.accelerator=cpu",
    "lightning.max_epochs=2",
    "data.batch_size=8",
    "data.num_workers=1",
    "callbacks.auto_retry.save_every_n_steps=3",
)


class Command:
    """`python -m nimble_lightning`, whose processes can all be found, with a temporary folder of its own."""

    def __init__(self, *words: str, **variables: str) -> None:
        self.place = Path("tmp").absolute()
        self.place.mkdir(exist_ok=True)
        self._canary = secrets.token_hex(8)
        self._said = Path("said.txt")
        with self._said.open("ab") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nimble_lightning", *SETTINGS, *words],
                env={**os.environ, CANARY: self._canary, "TMPDIR": str(self.place), **variables},
                stdout=said,
                stderr=said,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def wait_for(self, done: Callable[[], bool]) -> None:
        assert until(lambda: done() or self._process.poll() is not None), self.said
        assert self._process.poll() is None, self.said

    def end(self) -> int:
        """Its exit code, less than 0 for a signal."""
        try:
            return self._process.wait(120)
        finally:
            self._process.kill()

    @property
    def said(self) -> str:
        return self._said.read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """All that run and have it from this command."""
        return having(self._canary)

    def left(self) -> list[str]:
        """Processes and files that are there long after the end."""
        end = time.monotonic() + SECONDS
        while (found := self.processes()) and time.monotonic() < end:
            time.sleep(0.05)
        words = [told(process) for process in found]
        for process in found:
            process.kill()
        return [*words, *(path.name for path in self.place.iterdir())]


def signal_to(processes: Sequence[psutil.Process], number: signal.Signals = signal.SIGKILL) -> None:
    for process in processes:
        process.send_signal(number)


def running(command: Command, words: str) -> list[psutil.Process]:
    """Those of its processes that were started with these words."""
    return [p for p in command.processes() if words in told(p)]


def workers(command: Command) -> list[psutil.Process]:
    """The ranks themselves: children of those that stay beside them."""
    servers = {p.pid for p in running(command, "forkserver import main")}
    parents = {p.pid for p in command.processes() if parent_of(p) in servers}
    return [p for p in command.processes() if parent_of(p) in parents and p.name() != "sleep"]


def trains() -> bool:
    """Whether the run has committed something."""
    return any(RunFolder(FOLDER).steps.glob("step-*.ckpt"))


def status() -> str:
    return str(read_json(RunFolder(FOLDER).run).get("status"))


def having(canary: str) -> list[psutil.Process]:
    """All processes that run and were started with this in their environment, or forked from such."""
    return [p for p in psutil.process_iter() if _has(p, f"{CANARY}={canary}")]


def told(process: psutil.Process) -> str:
    """Its command line."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def parent_of(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def _has(process: psutil.Process, entry: str) -> bool:
    try:
        # Not `Process.environ`, which is empty for one that has ended; those do not run.
        return entry.encode() in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
