"""What happened to the files of a folder, told from the digests a statement has for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from nimble_lightning.checkpoint.manifest import FileRecord
from nimble_lightning.proof.report import Problem


def explain(
    claimed: Mapping[str, FileRecord], present: Mapping[str, FileRecord | OSError], strangers: list[str]
) -> list[Problem]:
    """Each file that is not as claimed: missing, added, altered, cut, renamed, swapped or rolled back.

    Args:
        claimed: By the statement.
        present: What was read; an error where that failed. The strangers are among them.
        strangers: Files that the statement does not name.
    """
    found = []
    owners = {record.sha256: name for name, record in claimed.items() if record.size}
    added = {r.sha256: name for name in strangers if isinstance(r := present.get(name), FileRecord)}
    for name, record in claimed.items():
        now = present.get(name)
        if now is None:
            found.append(_missing(name, record, added))
        elif isinstance(now, OSError):
            found.append(Problem("altered", name, f"cannot be read: {now.strerror or now}"))
        elif now != record:
            found.append(_changed(name, record, now, claimed, present, owners))
    moved = {problem.text.rpartition(" ")[2] for problem in found if problem.kind == "renamed"}
    for name in strangers:
        if name not in moved:
            found.append(Problem("extra", name, "is not in the statement: it was added after the signature"))
    return found


def _missing(name: str, record: FileRecord, added: Mapping[str, str]) -> Problem:
    if record.size and record.sha256 in added:
        return Problem("renamed", name, f"was renamed to {added[record.sha256]}")
    return Problem("missing", name, "is missing")


def _changed(
    name: str,
    record: FileRecord,
    now: FileRecord,
    claimed: Mapping[str, FileRecord],
    present: Mapping[str, FileRecord | OSError],
    owners: Mapping[str, str],
) -> Problem:
    other = owners.get(now.sha256)
    if other is not None and present.get(other) == record:
        return Problem("swapped", name, f"was swapped with {other}")
    if other is not None and PurePosixPath(other).parts[:1] == ("checkpoints",):
        return Problem("rolled_back", name, f"holds the content of {other}: it was replaced or rolled back")
    if other is not None:
        return Problem("altered", name, f"holds the content of {other}")
    if now.size != record.size:
        return Problem("size", name, f"has {now.size} bytes, the statement says {record.size}")
    return Problem("altered", name, "has the right size, but its content was altered (sha256)")
