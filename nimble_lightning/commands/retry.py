"""`nimble-cli retry -- CMD`: any command, started again when it dies; with AutoRetry it goes on."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from nimble_lightning.checkpoint import newest_whole
from nimble_lightning.commands.argument_parser import Parser
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.process_environment import NOTES, RUN
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.runs.job import new_run_id
from nimble_lightning.runs.outcome import Evidence, Outcome, judge
from nimble_lightning.runs.process_tree import signal_when_orphaned
from nimble_lightning.supervision.retry_policy import RetryPolicy

# How long a script may take to commit and end when asked to, and what it left running to end after it.
STOP_SECONDS = 30.0
_USAGE = "[--max-retries N] [--run-id NAME] -- CMD ..."


def main(words: Sequence[str]) -> int:
    """Run a command to its end; returns its exit code."""
    asked = _read(list(words))
    with tempfile.TemporaryDirectory(prefix="nimble-retry-") as notes:
        policy = RetryPolicy(max_retries=asked.max_retries)
        run = Retry(asked.command, policy, asked.run_id or new_run_id(), Path(notes))
        with run.signals():
            return run.to_its_end()


class Retry:
    """The loop of attempts around a command.

    Args:
        command: The program and its arguments.
        policy: Whether and when it is started again.
        run_id: The name of the run, by which a script finds its own checkpoints.
        notes: Where the script's callback leaves what an exit code cannot say.
    """

    def __init__(self, command: Sequence[str], policy: RetryPolicy, run_id: str, notes: Path) -> None:
        self._command = list(command)
        self._policy = policy
        self._notes = notes
        self._environment = {**os.environ, RUN: run_id, NOTES: str(notes)}
        self._asked: list[int] = []

    def to_its_end(self) -> int:
        """Start the command, and again as long as that makes sense."""
        while True:
            code = self._attempt()
            if self._asked:
                return ExitCode.INTERRUPTED if self._asked[0] == signal.SIGINT else ExitCode.TERMINATED
            outcome = self._judge(code)
            decision = self._policy.decide(outcome, self._committed())
            if decision.wait is None:
                if code != 0:
                    _say(
                        f"{outcome.reason}; not started again"
                        + (f": {decision.why_not}" if decision.why_not else "")
                    )
                return code if code >= 0 else 128 - code
            again = (
                f"trying again in {decision.wait:.1f} s ({self._policy.used} of {self._policy.max_retries})"
            )
            _say(f"{outcome.reason}: {again}{self._from_where()}")
            self._wait(decision.wait)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """While the command runs, Ctrl-C and SIGTERM are for it; none of them starts it again."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, lambda n, _: self._asked.append(n)) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _attempt(self) -> int:
        for old in self._notes.glob("error.*"):
            old.unlink()
        try:
            # A group of its own, so that ranks it started can be ended when it is gone itself. When we are
            # gone, it is asked to commit and end.
            process = subprocess.Popen(
                self._command,
                env=self._environment,
                start_new_session=True,
                preexec_fn=partial(signal_when_orphaned, signal.SIGTERM),
            )
        except OSError as error:
            raise RequestError(
                f"{self._command[0]} cannot be run: {error.strerror}. Usage: nimble-cli retry {_USAGE}"
            ) from None
        try:
            return self._watch(process)
        finally:
            _end_group(process.pid)

    def _watch(self, process: subprocess.Popen[bytes]) -> int:
        passed_on, until = 0, float("inf")
        while (code := process.poll()) is None:
            for number in self._asked[passed_on:]:
                os.killpg(process.pid, number)
                until = min(until, time.monotonic() + STOP_SECONDS)
            passed_on = len(self._asked)
            if passed_on > 2 or time.monotonic() > until:
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.05)
        return code

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._asked:
            time.sleep(0.05)

    def _judge(self, code: int) -> Outcome:
        errors = [read_json(path) for path in self._notes.glob("error.*.json")]
        if code == ExitCode.REFUSED and not errors:
            # By convention: the command line of the script was wrong.
            return Outcome(
                Cause.CONFIG,
                "the command ended with code 2, which says that it was asked for something wrong",
            )
        return judge(Evidence(finished=code == 0, errors=[e for e in errors if e], exit_codes={0: code}))

    def _fits(self) -> list[dict[str, Any]]:
        return [read_json(path) for path in self._notes.glob("*.json") if not path.name.startswith("error.")]

    def _committed(self) -> int:
        """Steps committed by all its fits together."""
        folders = [Path(fit["commits"]) for fit in self._fits() if fit]
        found = (newest_whole(folder) for folder in folders)
        return sum(commit.manifest.step for commit in found if commit is not None)

    def _from_where(self) -> str:
        if not self._fits():
            return ", from the beginning (no fit with the callback AutoRetry was reached)"
        step = self._committed()
        return f", from step {step}" if step else ", from the beginning (nothing has been committed)"


def _read(words: Sequence[str]) -> argparse.Namespace:
    """Our options, then the command."""
    parser = Parser("retry", "Run any command and restart it when it fails.", _USAGE)
    parser.add_argument(
        "--max-retries", type=_natural, default=RetryPolicy.max_retries, metavar="N", help="at most"
    )
    parser.add_argument("--run-id", metavar="NAME", help="by which its checkpoints are found again")
    own = _length_of_options(words)
    asked = parser.read(words[:own])
    asked.command = list(words[own:])[words[own : own + 1] == ["--"] :]
    if not asked.command:
        parser.error("the following arguments are required: a command")
    return asked


def _length_of_options(words: Sequence[str]) -> int:
    """How many words come before the command, whose options are its own."""
    count = 0
    while count < len(words) and words[count].startswith("-") and words[count] != "--":
        count += 2 if words[count] in ("--max-retries", "--run-id") else 1
    return min(count, len(words))


def _natural(text: str) -> int:
    if not text.isdigit():
        raise RequestError(f"--max-retries {text}: expected a number, 0 or more.")
    return int(text)


def _end_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _say(text: str) -> None:
    print(f"nimble-cli retry: {text}", file=sys.stderr, flush=True)
