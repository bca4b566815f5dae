"""Commands in processes of their own that are up at once: forked, as workers are, from our server.

What they do is the same from their first line on; that they start as `python -m` is shown by other tests.
What their workers say goes to the terminal of the server, so it is looked for in the log.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver as servers
from pathlib import Path
from subprocess import CompletedProcess

import nimble_lightning.__main__
from nimble_lightning.cli.app import main
from nimble_lightning.runs.process_tree import alive
from nimble_lightning.worker.server import forkserver


class Command:
    """`python -m nimble_lightning` with these words; with a source, `python -c` of that."""

    def __init__(self, *words: str, source: str | None = None, **variables: str) -> None:
        self._words = words
        self._folder = Path(tempfile.mkdtemp(prefix="command-"))
        self._said = self._folder / "stdout", self._folder / "stderr"
        for file in self._said:
            file.touch()
        forkserver.start(str(Path(__file__).with_name("server_preload.py")))
        found = servers._forkserver
        server = found._forkserver_address, found._forkserver_pid  # type: ignore[attr-defined]
        self._process = multiprocessing.get_context("forkserver").Process(
            target=_be, args=(words, source, {**os.environ, **variables}, self._said, server)
        )
        with forkserver.without_main():
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        # Of the process itself only one thread may ask.
        return alive(self.pid)

    @property
    def said(self) -> str:
        """What it has said so far, errors aside."""
        return self._said[0].read_text()

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """It alone, and whatever it has said."""
        self._process.kill()
        self._process.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def end(self, seconds: float = 150.0) -> CompletedProcess[str]:
        """How it ends, and what it says; what does not end is ended."""
        self._process.join(seconds)
        over = self._process.exitcode is not None
        said = [file.read_text(errors="replace") for file in self._said]
        self.kill()
        done = CompletedProcess(self._words, self._process.exitcode or 0, *said)
        assert over, f"not over after {seconds:.0f} s: {done}"
        return done

    def end_with(self, code: int) -> str:
        """All it says, once it has ended with that code."""
        done = self.end()
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        return said


def run(*words: str, **variables: str) -> CompletedProcess[str]:
    """A command to its end."""
    return Command(*words, **variables).end()


def _be(
    words: Sequence[str],
    source: str | None,
    environment: Mapping[str, str],
    said: Sequence[Path],
    server: tuple[str, int],
) -> None:
    """What a process that was forked from the server does to be a command."""
    os.setsid()
    # The server is deaf to both.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number, file in enumerate(said, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, os.getcwd())
    sys.argv = [nimble_lightning.__main__.__file__, *words]
    # Its workers are to come from there as well.
    vars(servers._forkserver).update(_forkserver_address=server[0], _forkserver_pid=server[1])
    forkserver.inherit()
    if source is None:
        sys.exit(main())
    exec(compile(source, "<source>", "exec"), {"__name__": "__main__"})
    sys.stdout.flush()
