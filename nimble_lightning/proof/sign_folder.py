"""A run folder as it is, told in a statement and signed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from nimble_lightning.checkpoint.manifest import FileRecord, Manifest
from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.proof import commit_chain, secret_scan
from nimble_lightning.proof.backend import Seal
from nimble_lightning.proof.digests import digests_of
from nimble_lightning.proof.inventory import Inventory, survey
from nimble_lightning.proof.predicate import predicate_of
from nimble_lightning.proof.statement import Statement
from nimble_lightning.run_folder import BUNDLE, JOB, STATEMENT

_TOLD = 3


def sign(
    folder: str | os.PathLike[str],
    seal: Seal,
    *,
    also: Sequence[str] = (),
    secrets: Mapping[str, bytes] | None = None,
) -> Statement:
    """Sign a run folder; refused while anything is in it that must not be handed on.

    Args:
        folder: Of a run that has ended.
        seal: Writes the statement and its signature.
        also: Patterns of further files that belong to the run.
        secrets: Values that must be nowhere in the folder, by what they are called.

    Raises:
        RequestError: Why it is not signed.
    """
    place = Path(os.path.abspath(folder))
    if not (place / JOB).is_file():
        raise RequestError(f"{place} holds no run: there is no {JOB}.")
    # What an earlier end was signed with says nothing about this one.
    for name in (STATEMENT, BUNDLE):
        (place / name).unlink(missing_ok=True)
    found = survey(place, also)
    _refuse_what_does_not_belong(found)
    _refuse_secrets(place, found, secrets or {})
    try:
        manifests = commit_chain.commits(place)
    except CheckpointError as error:
        raise RequestError(f"A checkpoint of {place} cannot be vouched for: {error}.") from None
    statement = Statement(_subjects(place, found, manifests), predicate_of(place, manifests))
    seal(place, statement.dump())
    return statement


def _refuse_what_does_not_belong(found: Inventory) -> None:
    for names, what in ((found.odd, "is a link or a special file"), (found.strangers, "is no part of a run")):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise RequestError(
                f"Not signed: {names[0]}{more} {what}. Move it away, or name what belongs to it: "
                "signature.also=[PATTERN]."
            )


def _refuse_secrets(folder: Path, found: Inventory, secrets: Mapping[str, bytes]) -> None:
    told = secret_scan.find(folder, [*found.parts, *found.volatile], secrets)
    if told:
        raise RequestError(f"Not signed: {'; '.join(told[:_TOLD])}. Remove it, and sign again.")


def _subjects(folder: Path, found: Inventory, manifests: Mapping[str, Manifest]) -> dict[str, FileRecord]:
    """Digests of checkpoints come from their manifests: their bytes were hashed while they were written."""
    told = {
        p: r for name, manifest in manifests.items() for p, r in commit_chain.files_of(name, manifest).items()
    }
    vouched = {name: record for name, record in told.items() if found.parts.get(name) == record.size}
    subjects = dict(vouched)
    for name, record in digests_of(folder, sorted(found.parts.keys() - vouched.keys())):
        if isinstance(record, OSError):
            raise RequestError(f"Not signed: {name} cannot be read: {record.strerror}.")
        subjects[name] = record
    return subjects
