"""What happened to the files of a folder, told from the digests a statement has for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from nimble_lightning.checkpoint.manifest import FileRecord
from nimble_lightning.proof.verification_report import Problem
from nimble_lightning.run_folder import CHECKPOINTS


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
    owners: dict[str, list[str]] = defaultdict(list)
    for name, record in claimed.items():
        if record.size:
            owners[record.sha256].append(name)
    added = {r.sha256: name for name in strangers if isinstance(r := present.get(name), FileRecord)}
    for name, record in claimed.items():
        now = present.get(name)
        if now is None:
            found.append(_missing(name, record, added))
        elif isinstance(now, OSError):
            found.append(Problem("altered", name, f"cannot be read: {now.strerror or now}"))
        elif now != record:
            found.append(_changed(name, record, now, present, owners.get(now.sha256, [])))
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
    present: Mapping[str, FileRecord | OSError],
    owners: Sequence[str],
) -> Problem:
    """What became of a file that now holds what `owners` should hold, if anything does."""
    for other in owners:
        if present.get(other) == record:
            return Problem("swapped", name, f"was swapped with {other}")
    for other in owners:
        if other.startswith(f"{CHECKPOINTS}/"):
            text = f"holds the content of {other}: it was replaced or rolled back"
            return Problem("rolled_back", name, text)
    if owners:
        return Problem("altered", name, f"holds the content of {owners[0]}")
    if now.size != record.size:
        return Problem("size", name, f"has {now.size} bytes, the statement says {record.size}")
    return Problem("altered", name, "has the right size, but its content was altered (sha256)")
