"""What an exception says about its cause: tables, read from the top; the first line that fits decides."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

Cause = Literal[
    "finished", "transient", "killed", "host_memory", "device_memory", "hang", "preempted", "nan", "deterministic", "stopped", "config"
]  # fmt: skip

# Cause, names of exception types (bases count), words in the message (lower case).
_TABLE: Sequence[tuple[Cause, frozenset[str], tuple[str, ...]]] = (
    ("config", frozenset({"RequestError", "HydraException", "OmegaConfBaseException"}), ()),
    ("preempted", frozenset({"SIGTERMException"}), ()),
    ("device_memory", frozenset({"OutOfMemoryError"}),
     ("cuda out of memory", "mps backend out of memory", "cublas_status_alloc_failed", "hip out of memory", "xpu out of memory")),
    ("host_memory", frozenset({"MemoryError"}),
     ("defaultcpuallocator", "cannot allocate memory", "unable to mmap", "out of shared memory", "bus error. it is possible that dataloader")),
    ("nan", frozenset({"FloatingPointError"}), ("returned nan values", "loss is nan", "loss is inf")),
    ("transient", frozenset({"ConnectionError", "TimeoutError", "InterruptedError", "BlockingIOError", "HTTPError", "URLError"}),
     ("temporarily unavailable", "connection refused", "connection timed out", "name or service not known", "stale file handle",
      "input/output error", "dataloader worker", "cuda error: ecc", "uncorrectable", "nvlink", "device unavailable")),
    # Raised by wrong code or a wrong request: the same again would end the same.
    ("deterministic", frozenset({"TrainerError", "CheckpointError", "SyntaxError", "ImportError", "NameError", "AttributeError", "TypeError",
     "ValueError", "LookupError", "AssertionError", "NotImplementedError", "MisconfigurationException", "ZeroDivisionError"}), ()),
)  # fmt: skip

# What a rank says when another one is gone.
_CONSEQUENCES = ("connection closed by peer", "connection reset by peer", "connection was closed", "gloo", "socket timeout", "broken pipe",
                 "nccl", "process group", "processgroup", "remote process exited", "tcpstore")  # fmt: skip
_CONSEQUENCE_TYPES = frozenset({"DistBackendError", "DistNetworkError", "DistStoreError", "BrokenBarrierError"})


def cause_of(bases: Collection[str], message: str) -> tuple[Cause, bool]:
    """The cause of an exception, and whether it is known rather than presumed.

    Args:
        bases: Names of the exception's type and of its bases.
        message: Its text.
    """
    text = message.lower()
    for cause, types, words in _TABLE:
        if not types.isdisjoint(bases) or any(word in text for word in words):
            return cause, True
    return "transient", False


def is_consequence(bases: Collection[str], message: str) -> bool:
    """Whether a rank fails like this because another one has gone."""
    text = message.lower()
    from_torch = not _CONSEQUENCE_TYPES.isdisjoint(bases) or "RuntimeError" in bases or "ConnectionError" in bases
    return not _CONSEQUENCE_TYPES.isdisjoint(bases) or (from_torch and any(word in text for word in _CONSEQUENCES))
