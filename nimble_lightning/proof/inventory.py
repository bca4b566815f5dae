"""Which files of a run folder a statement vouches for, which come and go, and which have no place there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from nimble_lightning.run_folder import (
    BUNDLE,
    CHECKPOINTS,
    CONFIG,
    EMISSIONS,
    ERRORS,
    EXPORTED,
    FINISHED,
    JOB,
    LOCK,
    MEMBER,
    OUTBOX,
    PAGE,
    PROVENANCE,
    RANK_USAGE,
    RECORD,
    SAVE_NOW,
    SHOW,
    STAGED,
    STATEMENT,
    TOKEN,
    USAGE,
)

# What belongs to a run; a name that ends in / stands for everything below it.
_PARTS = (
    CONFIG,
    JOB,
    RECORD,
    FINISHED,
    "log*.txt",
    "metrics*.jsonl",
    "metrics*.csv",
    "gpu*.jsonl",
    USAGE,
    f"{RANK_USAGE}/",
    EMISSIONS,
    PROVENANCE,
    PAGE,
    f"{CHECKPOINTS}/",
    f"{CHECKPOINTS}.before-*/",
    f"{EXPORTED}/",
    f"{SHOW}/",
    f"{ERRORS}/",
    # The Hugging Face Trainer's own.
    "checkpoint-*/",
    "runs/",
    "lightning_logs/",
    "trackio/",
    "wandb/",
    ".prepared-*",
)
# Written after a run was signed, or while its folder is merely looked at.
_VOLATILE = (
    f"{OUTBOX}/",
    # Checkpoints that wait to be pushed.
    f"{STAGED}/",
    LOCK,
    MEMBER,
    TOKEN,
    "slurm.*",
    ".heartbeat-*",
    SAVE_NOW,
    STATEMENT,
    BUNDLE,
)


@dataclass
class Inventory:
    """What lies in a folder.

    Attributes:
        parts: Files that belong to the run, with their sizes.
        volatile: Files that come and go, which nobody vouches for.
        strangers: Files that belong to no part of a run.
        odd: What is neither file nor folder: links, sockets, devices.
    """

    parts: dict[str, int] = field(default_factory=dict)
    volatile: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)


def survey(folder: Path, also: Sequence[str] = ()) -> Inventory:
    """Sort every file of the folder; nothing is opened and no link followed.

    Args:
        folder: Of the run.
        also: More patterns of what belongs to it, such as `notes/` or `*.png`.
    """
    found = Inventory()
    for relative, mode, size in _walk(folder):
        if not stat.S_ISREG(mode):
            found.odd.append(relative)
        elif matches(relative, _VOLATILE):
            found.volatile.append(relative)
        elif matches(relative, (*_PARTS, *also)):
            found.parts[relative] = size
        else:
            found.strangers.append(relative)
    return found


def matches(relative: str, patterns: Iterable[str]) -> bool:
    """Whether a file is one of these, or below one of these folders."""
    folders = relative.split("/")[:-1]
    below = {"/".join(folders[:end]) for end in range(1, len(folders) + 1)}
    for pattern in patterns:
        if pattern.endswith("/"):
            if any(_same(place, pattern[:-1]) for place in below):
                return True
        elif _same(relative, pattern):
            return True
    return False


def _same(name: str, pattern: str) -> bool:
    """A star stands for anything but a slash."""
    return name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)


def _walk(folder: Path) -> Iterable[tuple[str, int, int]]:
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders.sort()
        for name in sorted([*names, *folders]):
            path = Path(parent, name)
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode):
                yield path.relative_to(folder).as_posix(), found.st_mode, found.st_size


def _refuse(error: OSError) -> None:
    """A folder that cannot be read could hide anything."""
    raise error
