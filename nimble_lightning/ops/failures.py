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
