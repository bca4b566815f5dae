"""Why an attempt of a run ended."""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """The causes an attempt can end with, and what follows from each; in files they are these words.

    Attributes:
        is_retried: Whether the same again may end otherwise.
        growth: By how much the wait before each further attempt grows.
        is_wanted: The end was wanted: what passes until somebody starts the run again is no waiting.
    """

    FINISHED = "finished", False, 2.0, True
    # A network or a disk, which has to come back.
    TRANSIENT = "transient", True, 4.0
    KILLED = "killed"
    HOST_MEMORY = "host_memory"
    DEVICE_MEMORY = "device_memory"
    HANG = "hang"
    PREEMPTED = "preempted"
    # Nothing failed: further machines came.
    REGROUPED = "regrouped"
    # The numbers, a mistake in the code, the user's wish, a wrong request: the same again would end the same.
    NAN = "nan", False
    DETERMINISTIC = "deterministic", False
    STOPPED = "stopped", False, 2.0, True
    CONFIG = "config", False

    is_retried: bool
    growth: float
    is_wanted: bool

    def __new__(
        cls, name: str, is_retried: bool = True, growth: float = 2.0, is_wanted: bool = False
    ) -> Cause:
        """A cause by its name in files."""
        cause = str.__new__(cls, name)
        cause._value_ = name
        cause.is_retried, cause.growth, cause.is_wanted = is_retried, growth, is_wanted
        return cause
