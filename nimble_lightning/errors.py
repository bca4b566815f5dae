"""Everything this package raises on purpose.

NimbleError
 ├── RequestError       what was asked for cannot be done; nothing was started (exit code 2)
 ├── TrainerError       the user's trainer broke its contract while running (exit code 1, never retried)
 ├── CheckpointError    a checkpoint is not whole, was altered, or belongs to another run
 ├── ExportError        a model cannot be exported, or its export is not the model
 └── RunError           a run that a script started has failed, or was stopped

Each message says what happened, what was expected and what to type next, in one or two lines.
"""

from __future__ import annotations

from typing import Any

# What reading a file as Python may raise: no such bytes, no such text, no such grammar, or too deep a nest.
UNREADABLE = (OSError, ValueError, SyntaxError, RecursionError, MemoryError)


class NimbleError(Exception):
    """Base of all errors of this package; its text is meant for people."""


class RequestError(NimbleError):
    """The request was wrong: a typo, a wrong type, a missing file, an unwritable folder."""

    @classmethod
    def of_source(cls, path: object, error: Exception) -> RequestError:
        """A file that is to be Python and cannot be read as such: where, and why."""
        if isinstance(error, SyntaxError) and error.lineno:
            line = (error.text or "").strip()[:100]
            return cls(
                f"{error.filename or path}:{error.lineno}: {error.msg}" + (f"\n    {line}" if line else "")
            )
        if isinstance(error, OSError):
            return cls(f"{path} cannot be read: {error.strerror}")
        return cls(f"{path} cannot be read as Python: {error}")


class TrainerError(NimbleError):
    """A method of the user's trainer returned or did something that cannot be used."""


class CheckpointError(NimbleError):
    """A checkpoint cannot be trusted or does not fit this run."""


class RunError(NimbleError):
    """A run failed, or was stopped.

    Attributes:
        result: What there is of it.
    """

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


class ExportError(NimbleError):
    """A model cannot be exported, or its export is not the model; nothing of it was kept."""
