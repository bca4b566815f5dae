"""Whether a run folder is what its statement says: signature, files, chain, freshness, in that order.

Nothing of the folder is unpickled or run, and nothing in the statement believed before its signature held.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nimble_lightning.checkpoint.manifest import FileRecord
from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.ops import plain_files
from nimble_lightning.proof import commit_chain, oms
from nimble_lightning.proof.digests import digests_of
from nimble_lightning.proof.envelope import is_envelope, unseal
from nimble_lightning.proof.inventory import survey
from nimble_lightning.proof.keys import public_key
from nimble_lightning.proof.predicate import run_of
from nimble_lightning.proof.statement import LARGEST, Statement, load_json
from nimble_lightning.proof.verification_report import Problem, Report
from nimble_lightning.run_folder import BUNDLE, CHECKPOINTS, STATEMENT, STEPS

# Base64 takes four bytes for three.
_LARGEST_FILE = LARGEST * 4 // 3 + (1 << 20)


@dataclass(frozen=True)
class Expected:
    """What the verifier knows already: an old statement of the same run, itself signed, shows by this.

    Args:
        run_id: Which run it has to be.
        step: Up to which step it has to have come at least.
        attempt: Which start of the run has to be in it at least.
    """

    run_id: str | None = None
    step: int = 0
    attempt: int = 0


def verify(folder: str | os.PathLike[str], key: str, expected: Expected | None = None) -> Report:
    """Check a run folder against its statement; the report names everything that does not hold.

    Args:
        folder: Of the run, wherever it is now.
        key: The public half of the key that has to have signed it: a path, or `env:NAME`.
        expected: What else is known of the run.

    Raises:
        RequestError: There is no such folder or key.
    """
    place, report = Path(os.path.abspath(folder)), Report()
    try:
        statement = read_signed(place, key)
    except CheckpointError as error:
        report.add(_kind(str(error)), "", str(error))
        return report
    report.claims = statement.predicate
    _check_run(place, statement, report)
    _check_files(place, statement, report)
    run_id, claimed = statement.predicate["run_id"], statement.predicate["checkpoints"]
    for file, text in commit_chain.problems(place, claimed, run_id, statement.subjects):
        if not any(problem.file in (file, f"{file}.manifest.json") for problem in report.problems):
            report.add("chain", file, text)
    _check_fresh(statement.predicate, expected or Expected(), report)
    return report


def _check_run(folder: Path, statement: Statement, report: Report) -> None:
    """Another run's statement is told as that, not as a hundred files that differ."""
    present = run_of(folder)
    claimed = statement.predicate["run_id"]
    if present is not None and present != claimed:
        report.add("run", "", f"the statement is of run {claimed!r}, the folder holds run {present!r}")


def _check_files(folder: Path, statement: Statement, report: Report) -> None:
    subjects = statement.subjects
    try:
        found = survey(folder)
    except OSError as error:
        report.add("link", "", f"the folder cannot be read: {error}")
        return
    for name in found.odd:
        report.add("link", name, "is a link or a special file; only plain files are believed")
    volatile = set(found.volatile) - subjects.keys()
    there = {*found.parts, *found.strangers, *found.volatile} - volatile
    present: dict[str, FileRecord | OSError] = {}
    # A file of any other size holds the content of none, under whatever name.
    sizes = {record.size for record in subjects.values()}
    for name, record in digests_of(folder, sorted(there), sizes):
        present[name] = record
        if isinstance(record, FileRecord):
            report.files, report.bytes = report.files + 1, report.bytes + record.size
    odd = dict.fromkeys(found.odd, OSError("it is no plain file"))
    strangers = sorted(there - subjects.keys())
    for problem in _file_problems(subjects, {**present, **odd}, strangers):
        if problem.file not in odd:
            report.problems.append(problem)


def _check_fresh(claims: Mapping[str, Any], expected: Expected, report: Report) -> None:
    newest = max((entry.get("step", 0) for entry in claims["checkpoints"] if _is_step(entry)), default=0)
    if newest and claims["step"] != newest:
        report.add("step", "", f"the statement says step {claims['step']}, its newest checkpoint is {newest}")
    if expected.run_id is not None and claims["run_id"] != expected.run_id:
        report.add("run", "", f"this is run {claims['run_id']!r}, expected {expected.run_id!r}")
    if claims["step"] < expected.step:
        report.add("step", "", f"rolled back to step {claims['step']}, expected {expected.step} or later")
    attempts = len(claims["attempts"])
    if attempts < expected.attempt:
        report.add("attempt", "", f"rolled back to attempt {attempts}, expected {expected.attempt} or later")


def _is_step(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("name", "")).startswith(f"{STEPS}/") and isinstance(entry.get("step"), int)


def _kind(text: str) -> str:
    if "another key" in text:
        return "key"
    return "signature" if "signature" in text or "not signed" in text else "statement"


def read_signed(folder: Path, key: str) -> Statement:
    """The statement in a run folder, its signature checked.

    Args:
        folder: Of the run.
        key: The public half: a path, or `env:NAME`.

    Raises:
        CheckpointError: It is not signed by this key, or altered.
        RequestError: There is nothing to check, or the key cannot be used.
    """
    if not folder.is_dir():
        raise RequestError(f"There is no folder {folder}.")
    data = _read(folder / STATEMENT)
    content = load_json(data, STATEMENT)
    if is_envelope(content):
        return Statement.parse(unseal(content, public_key(key)))
    if not os.path.lexists(folder / BUNDLE):
        raise CheckpointError(f"{STATEMENT} is not signed")
    # The bundle vouches for the file, so nothing in it is believed before.
    oms.check(folder, key)
    if _read(folder / STATEMENT) != data:
        raise CheckpointError(f"{STATEMENT} was changed while it was checked")
    return Statement.parse(data)


def _read(path: Path) -> bytes:
    try:
        return plain_files.read(path.parent, path.name, _LARGEST_FILE)
    except FileNotFoundError:
        raise CheckpointError(
            f"There is no {path.name} in {path.parent}, so the run was not signed (nimble-cli sign DIR)"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error.strerror}") from None


def _file_problems(
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
