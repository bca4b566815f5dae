"""Everything this package raises on purpose.

NimbleError
 ├── RequestError       what was asked for cannot be done; nothing was started (exit code 2)
 ├── TrainerError       the user's trainer broke its contract while running (exit code 1, never retried)
 └── CheckpointError    a checkpoint is not whole, was altered, or belongs to another run

Each message says what happened, what was expected and what to type next, in one or two lines.
"""

from __future__ import annotations


class NimbleError(Exception):
    """Base of all errors of this package; its text is meant for people."""


class RequestError(NimbleError):
    """The request was wrong: a typo, a wrong type, a missing file, an unwritable folder."""


class TrainerError(NimbleError):
    """A method of the user's trainer returned or did something that cannot be used."""


class CheckpointError(NimbleError):
    """A checkpoint cannot be trusted or does not fit this run."""
