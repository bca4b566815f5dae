"""What libraries say when memory runs out, in lower case: torch has a type for it, the others have words."""

from __future__ import annotations

DEVICE = (
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
HOST = ("defaultcpuallocator", "can't allocate memory", "cannot allocate memory")


def is_said_by(message: str) -> bool:
    """Whether a message is about memory that ran out, wherever it did."""
    text = message.lower()
    return any(words in text for words in (*DEVICE, *HOST, "out of memory"))
