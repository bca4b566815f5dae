"""What an exception says about its cause: tables, read from the top; the first line that fits decides."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from nimble_lightning.ops import failures
from nimble_lightning.ops.end_causes import Cause


class Rule(NamedTuple):
    """An exception fits by a type (its own or a base) or by words in its message (lower case)."""

    cause: Cause
    types: frozenset[str]
    words: tuple[str, ...] = ()

    def fits(self, bases: Collection[str], text: str) -> bool:
        return not self.types.isdisjoint(bases) or any(word in text for word in self.words)


_RULES = (
    Rule(Cause.CONFIG, frozenset({"RequestError", "HydraException", "OmegaConfBaseException"})),
    Rule(Cause.PREEMPTED, frozenset({"SIGTERMException"})),
    Rule(Cause.DEVICE_MEMORY, frozenset({"OutOfMemoryError"}), failures.OUT_OF_DEVICE_MEMORY),
    Rule(
        Cause.HOST_MEMORY,
        frozenset({"MemoryError"}),
        (*failures.OUT_OF_HOST_MEMORY, "unable to mmap", "shared memory", "bus error"),
    ),
    Rule(Cause.NAN, frozenset({"FloatingPointError"}), ("returned nan values",)),
    # Asked for what is not there, or not for everybody: the network did its part. The forms are those of
    # urllib, requests and httpx.
    Rule(
        Cause.DETERMINISTIC,
        frozenset({"RepositoryNotFoundError", "RevisionNotFoundError", "GatedRepoError"}),
        tuple(
            form.format(status)
            for status in (400, 401, 403, 404, 405, 410, 422)
            for form in ("http error {}:", "{} client error", "client error '{} ")
        )
        + ("is not a valid model identifier",),
    ),
    Rule(
        Cause.TRANSIENT,
        frozenset(
            {
                # Of huggingface_hub: neither kept here, nor reached there.
                "LocalEntryNotFoundError",
                "ConnectionError",
                "TimeoutError",
                "InterruptedError",
                "BlockingIOError",
                "HTTPError",
                "URLError",
            }
        ),
        (
            "temporarily unavailable",
            "connection refused",
            "connection timed out",
            "name or service not known",
            "stale file handle",
            # Without the name of a file: a socket of a process that is gone.
            "no such file or directory\n",
            "input/output error",
            "no space left on device",
            # One that has gone; an exception in one is passed on with words of its own.
            "dataloader worker (pid",
            "uncorrectable ecc",
            "nvlink",
        ),
    ),
    # Raised by wrong code or a wrong request: the same again would end the same.
    Rule(
        Cause.DETERMINISTIC,
        frozenset(
            {"TrainerError", "CheckpointError", "SyntaxError", "ImportError", "NameError", "AttributeError"}
            | {"TypeError", "ValueError", "LookupError", "AssertionError", "NotImplementedError"}
            | {"ArithmeticError", "RecursionError", "MisconfigurationException", "SafetensorError"}
            | {"FileNotFoundError", "PermissionError", "IsADirectoryError", "NotADirectoryError"}
            | {"FileExistsError"}
        ),
        (
            # What torch says by a RuntimeError of shapes, types and devices that do not go together ...
            "shapes cannot be multiplied",
            "must match the size of tensor",
            "sizes of tensors must match",
            "size mismatch",
            "shape mismatch",
            "expects each tensor to be equal size",
            "is invalid for input of size",
            "expected input batch_size",
            "given groups=",
            "dimension out of range",
            "must have the same dtype",
            "expected scalar type",
            "should be the same",
            "not implemented for '",
            "expected all tensors to be on the same device",
            "in loading state_dict",
            # ... and of gradients.
            "does not require grad",
            "backward through the graph a second time",
            "modified by an inplace operation",
            "can be implicitly created only for scalar outputs",
        ),
    ),
)

# Of huggingface_hub, where HF_HUB_OFFLINE or the user's code forbids it to ask.
_OFFLINE = "outgoing traffic has been disabled"

# What a rank says when another one is gone.
_CONSEQUENCES = (
    "connection closed by peer",
    "connection reset by peer",
    "connection was closed",
    "remote process exited",
    "socket timeout",
    "broken pipe",
    "process group",
    "processgroup",
    "tcpstore",
    "gloo",
    "nccl",
)
_CONSEQUENCE_TYPES = frozenset({"DistBackendError", "DistNetworkError", "DistStoreError"})


def cause_of(bases: Collection[str], message: str, traceback: str = "") -> tuple[Cause, bool]:
    """The cause of an exception, and whether it is known rather than presumed.

    Args:
        bases: Names of the exception's type and of its bases.
        message: Its text.
        traceback: How it came about.
    """
    if _OFFLINE in traceback:
        # Transformers speaks of a connection that failed all the same.
        return Cause.DETERMINISTIC, True
    text = f"{message.lower()}\n"
    rule = next((rule for rule in _RULES if rule.fits(bases, text)), None)
    return (Cause.TRANSIENT, False) if rule is None else (rule.cause, True)


def is_consequence(bases: Collection[str], message: str) -> bool:
    """Whether a rank fails like this because another one has gone."""
    if not _CONSEQUENCE_TYPES.isdisjoint(bases):
        return True
    words = any(word in message.lower() for word in _CONSEQUENCES)
    return words and not {"RuntimeError", "ConnectionError"}.isdisjoint(bases)
