"""An exception as plain facts that can be written to a file."""

from __future__ import annotations

import time
import traceback
from typing import Any

from nimble_lightning.ops.secrets import redact
from nimble_lightning.ops.untrusted_text import MOST, cut

_MOST_MESSAGE = 4000

# The exit code of a process that could not even write down why it ended; EX_IOERR of sysexits.h.
DISK_FULL = 74


OUT_OF_DEVICE_MEMORY = (
    "cuda out of memory",
    "cuda error: out of memory",
    "hip out of memory",
    "hip error: out of memory",
    "mps backend out of memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    # For want of room for its workspace.
    "unable to find a valid cudnn algorithm",
)
OUT_OF_HOST_MEMORY = ("defaultcpuallocator", "can't allocate memory", "cannot allocate memory")


def facts_of(error: BaseException, rank: int, step: int | None) -> dict[str, Any]:
    """What is worth keeping of an error; no reference to it, which would keep its tensors alive."""
    return {
        "type": type(error).__name__,
        "bases": [c.__name__ for c in type(error).__mro__],
        "message": _told(str(error), _MOST_MESSAGE),
        "traceback": _told("".join(traceback.format_exception(error)), MOST),
        "rank": rank,
        "time": time.time(),
        "step": step,
    }


def _told(text: str, most: int) -> str:
    """Without secrets, and not too long; roughly cut before, so that no half of one is left at an edge."""
    return cut(redact(cut(text, 4 * most)), most)


def says_out_of_memory(message: str) -> bool:
    """Whether a message is about memory that ran out, wherever it did."""
    text = message.lower()
    return any(words in text for words in (*OUT_OF_DEVICE_MEMORY, *OUT_OF_HOST_MEMORY, "out of memory"))
