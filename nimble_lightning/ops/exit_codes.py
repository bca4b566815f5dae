"""What a command exits with."""

from __future__ import annotations

from enum import IntEnum

from nimble_lightning.errors import RequestError


class ExitCode(IntEnum):
    """How a run, a sweep or a command ended, for the shell and for the help."""

    FINISHED = 0, "finished"
    FAILED = 1, "failed"
    REFUSED = 2, "the request was wrong"
    CRITERIA_NOT_MET = 3, "criteria not met"
    # 128 and the number of the signal, as shells have it.
    INTERRUPTED = 130, "stopped by a signal"
    TERMINATED = 143, "stopped by a signal"

    meaning: str

    def __new__(cls, code: int, meaning: str) -> ExitCode:
        """An exit code and its meaning in the help."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    @classmethod
    def of(cls, error: BaseException) -> ExitCode:
        """What a command exits with that ends in an error."""
        return cls.REFUSED if isinstance(error, RequestError) else cls.FAILED


# A signal ended it.
STOPPED = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
# The training came to its end, whatever was thought of its result.
TRAINED = (ExitCode.FINISHED, ExitCode.CRITERIA_NOT_MET)
