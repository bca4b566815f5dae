"""The named points of a save at which a fault can be rehearsed.

open      before the temporary file is created
half      some bytes are in the temporary file, not all
fsync     all bytes are written, none is known to be on the disk
pending   the file is safe under its temporary name, its manifest is not written
replace   both are safe under temporary names
folder    the file has its name; the folder is not yet flushed
manifest  the manifest still has its temporary name
prune     an older checkpoint is about to be removed
"""

from __future__ import annotations

from collections.abc import Callable

STAGES = ("open", "half", "fsync", "pending", "replace", "folder", "manifest", "prune")

Hook = Callable[[str], None]

_hook: Hook | None = None


def reach(stage: str) -> None:
    """Tell the hook, if there is one, that a save has come to this stage."""
    if _hook is not None:
        _hook(stage)


def set_hook(hook: Hook | None) -> Hook | None:
    """Call ``hook(stage)`` at each stage of every save in this process; returns the hook it replaces."""
    global _hook
    previous, _hook = _hook, hook
    return previous
