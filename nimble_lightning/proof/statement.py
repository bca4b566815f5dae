"""An in-toto Statement about a run: its files by sha256, and how they came to be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nimble_lightning.checkpoint.manifest import FileRecord, is_inside
from nimble_lightning.errors import CheckpointError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://pypi.org/project/nimble-lightning/run/v1"
SCHEMA = "nimble_lightning.run/1"
# Of a statement; one entry a file, so that this is some hundred thousand of them.
LARGEST = 64 << 20

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NEWER = "a newer version may have written it: pip install -U nimble-lightning"


@dataclass(frozen=True)
class Statement:
    """What is claimed about a run.

    Attributes:
        subjects: Size and digest of each file, by its path in the run folder.
        predicate: The record of the run; see `proof.predicate`.
    """

    subjects: Mapping[str, FileRecord]
    predicate: Mapping[str, Any]

    def dump(self) -> bytes:
        subjects = [
            {"name": name, "digest": {"sha256": record.sha256}, "annotations": {"size": record.size}}
            for name, record in sorted(self.subjects.items())
        ]
        content = {
            "_type": STATEMENT_TYPE,
            "subject": subjects,
            "predicateType": PREDICATE_TYPE,
            "predicate": self.predicate,
        }
        return json.dumps(content, indent=1, sort_keys=True, default=str).encode()

    @classmethod
    def parse(cls, data: bytes) -> Statement:
        """Read a statement; a CheckpointError says why it is none that can be checked."""
        content = load_json(data, "the statement")
        for field, expected in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
            if content.get(field) != expected:
                raise CheckpointError(f"unknown {field} {content.get(field)!r:.80}; {_NEWER}")
        predicate = content.get("predicate")
        if not isinstance(predicate, dict) or predicate.get("schema") != SCHEMA:
            found = predicate.get("schema") if isinstance(predicate, dict) else predicate
            raise CheckpointError(f"unknown schema {found!r:.80}, expected {SCHEMA!r}; {_NEWER}")
        _check_predicate(predicate)
        return cls(_subjects(content.get("subject")), predicate)


def load_json(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object, or a CheckpointError."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise CheckpointError(f"{what} is not JSON: it was damaged or altered") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{what} is not a JSON object")
    return content


def _subjects(entries: Any) -> dict[str, FileRecord]:
    if not isinstance(entries, list):
        raise CheckpointError("the statement lists no files")
    subjects: dict[str, FileRecord] = {}
    for entry in entries:
        name, record = _subject(entry)
        if not is_inside(name):
            raise CheckpointError(f"the statement names {name!r:.200}, which lies outside of the run folder")
        if name in subjects:
            raise CheckpointError(f"the statement names {name!r:.200} twice")
        subjects[name] = record
    return subjects


def _subject(entry: Any) -> tuple[str, FileRecord]:
    try:
        name, digest, size = entry["name"], entry["digest"]["sha256"], entry["annotations"]["size"]
    except (KeyError, TypeError):
        raise CheckpointError("a file in the statement has no name, digest or size") from None
    if not isinstance(name, str) or type(size) is not int or size < 0:
        raise CheckpointError(f"the statement's entry for {name!r:.200} is malformed")
    if not isinstance(digest, str) or _SHA256.fullmatch(digest) is None:
        raise CheckpointError(f"the statement's digest for {name!r:.200} is no sha256")
    return name, FileRecord(size, digest)


def _check_predicate(predicate: Mapping[str, Any]) -> None:
    kinds: dict[str, type | tuple[type, ...]] = {
        "run_id": str,
        "step": int,
        "attempts": list,
        "config": dict,
        "checkpoints": list,
    }
    for field, kind in kinds.items():
        if not isinstance(predicate.get(field), kind):
            raise CheckpointError(f"the statement's record has no usable {field!r}")
    if not all(isinstance(entry, dict) for entry in predicate["checkpoints"]):
        raise CheckpointError("the statement's record of checkpoints is malformed")
