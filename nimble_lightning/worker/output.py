"""Where a worker's words go: rank 0 to the terminal and log.txt, the others to a log of their own."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

from nimble_lightning.ops.secrets import Redacted
from nimble_lightning.ops.untrusted_text import cut, printable
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.settings import LogSettings
from nimble_lightning.terminal.streams import Expendable

# Warnings of libraries about what we do on purpose, or about themselves.
_NOISE = (
    ".*does not have many workers.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*smaller than the logging interval.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*`srun` command is available.*",
)


class Tee:
    """A stream that also writes to the log; for everybody else it is still the terminal it was."""

    def __init__(self, stream: TextIO | Redacted, copy: TextIO | Redacted) -> None:
        self._stream = stream
        self._copy = copy

    def note(self, text: str) -> None:
        """Into the log alone: somebody else says it on the terminal."""
        self._copy.write(text)

    def write(self, text: str) -> int:
        # Redrawn lines (progress bars) are for the terminal alone.
        if "\r" not in text and "\x1b[" not in text:
            self._copy.write(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._copy.flush()
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def note(text: str) -> None:
    """A line for the log of this process, not for its terminal."""
    (sys.stderr.note if isinstance(sys.stderr, Tee) else sys.stderr.write)(f"{text}\n")


@contextmanager
def to_log(folder: RunFolder, rank: int, local_rank: int, settings: LogSettings) -> Iterator[None]:
    """Copy stdout and stderr into the run folder while the block runs; replicas write only there, and less.

    Args:
        folder: Of the run.
        rank: Of this process among all.
        local_rank: Of this process on its machine.
        settings: How much is said, by whom and where.
    """
    speaks = rank == 0 or (settings.per_node and local_rank == 0)
    level = settings.level if speaks else settings.replica_level
    path = folder.log if rank == 0 else folder.replica_log(rank)
    before = sys.stdout, sys.stderr
    file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
    try:
        copy = Redacted(cast(TextIO, Expendable(file, for_good=False)))
        if speaks and settings.terminal:
            sys.stdout, sys.stderr = (
                Tee(Redacted(cast(TextIO, Expendable(stream))), copy) for stream in before
            )
        else:
            sys.stdout, sys.stderr = copy, copy
        try:
            with levels(level):
                yield
        finally:
            sys.stdout, sys.stderr = before
    finally:
        # What waits in its buffer may find no room even now.
        with suppress(OSError):
            file.close()


class _Current(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stderr` is by then: the progress line takes its place while it is drawn."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        """Others may not redirect it."""


def _is_unsaid(record: logging.LogRecord) -> bool:
    """Whether no logger on the way printed it, as some do that pass their records on all the same.

    What was printed past us, to the stream the process began with, is still to come into the log.
    """
    logger: logging.Logger | None = logging.getLogger(record.name)
    began_with = (sys.__stdout__, sys.__stderr__)
    while logger is not None and logger.parent is not None:
        printing = [each for each in logger.handlers if type(each) is logging.StreamHandler]
        if any(each.level <= record.levelno and each.stream not in began_with for each in printing):
            return False
        logger = logger.parent if logger.propagate else None
    return True


class _Printable(logging.Formatter):
    """What is logged may quote an error, and that anything at all."""

    def format(self, record: logging.LogRecord) -> str:
        return cut(printable(super().format(record)))


@contextmanager
def levels(level: str) -> Iterator[None]:
    """Ours at the asked level; Lightning's own remarks only when something is wrong, or when debugging."""
    host = level if level == "DEBUG" else "WARNING"
    wanted: dict[str, int | str] = {
        "nimble_lightning": level,
        "lightning": host,
        "lightning.pytorch": host,
        "lightning.fabric": host,
        # Prints by itself, and passes on.
        "huggingface_hub": logging.getLogger("huggingface_hub").level,
        # Silent unless somebody asked for it, and then it is what they asked for.
        "lightning.pytorch.profilers": level,
    }
    loggers = [logging.getLogger(), *map(logging.getLogger, wanted)]
    before = [(logger, logger.level, logger.handlers, logger.propagate) for logger in loggers]
    handler = _Current()
    handler.setFormatter(_Printable("%(message)s"))
    handler.addFilter(_is_unsaid)
    for logger in loggers:
        logger.handlers, logger.propagate = [], True
        logger.setLevel(wanted.get(logger.name, logger.level))
    loggers[0].handlers = [handler]
    try:
        with warnings.catch_warnings():
            for noise in _NOISE:
                warnings.filterwarnings("ignore", message=noise)
            yield
    finally:
        for logger, was, handlers, propagate in before:
            logger.setLevel(was)
            logger.handlers, logger.propagate = handlers, propagate


@contextmanager
def printed_to(path: Path) -> Iterator[None]:
    """What this process and those it starts print goes to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with open(path, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, original in enumerate(kept, start=1):
            os.dup2(original, number)
            os.close(original)
