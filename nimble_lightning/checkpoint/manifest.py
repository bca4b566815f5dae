"""What a checkpoint consists of: sizes, digests, and the place in its run.

A manifest carries the digest of its own content, so that no field can change unseen, and its predecessor's
digest, so that a replaced checkpoint shows.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from nimble_lightning.errors import CheckpointError

SCHEMA = "nimble_lightning.checkpoint/1"

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Size and sha256 of one file."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One committed checkpoint.

    Args:
        name: The name of the file or folder, without its parent.
        files: Every file of it by its path inside the folder; a checkpoint in one file has just its name.
        parent: Digest of the manifest committed before this one in the same run.
        versions: Of python, torch, lightning and this package.
        threads: What ``torch.get_num_threads()`` was; bits on a CPU depend on it.
        created: Seconds since 1970.
    """

    name: str
    files: Mapping[str, FileRecord]
    run_id: str | None
    step: int
    samples: int | None
    epoch: int
    attempt: int | None
    parent: str | None
    versions: Mapping[str, str]
    threads: int
    device: str
    created: float

    @property
    def digest(self) -> str:
        """The sha256 over everything the manifest says."""
        return _digest(self._content())

    def dump(self) -> bytes:
        """The manifest as it lies on the disk."""
        content = self._content()
        return json.dumps({**content, "digest": _digest(content)}, indent=1, sort_keys=True).encode()

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Read a manifest; anything but exactly what ``dump`` writes is a CheckpointError."""
        content = _load(data)
        content.pop("digest", None)
        if content.pop("schema", None) != SCHEMA:
            raise CheckpointError(f"unknown schema, expected {SCHEMA!r}; a newer version may have written it")
        if set(content) != set(_CHECKS):
            odd = ", ".join(sorted(set(content) ^ set(_CHECKS)))
            raise CheckpointError(f"missing or unknown fields: {odd}")
        for field, check in _CHECKS.items():
            if not check(content[field]):
                raise CheckpointError(f"field {field!r} cannot be {content[field]!r}")
        content["files"] = {name: FileRecord(**record) for name, record in content["files"].items()}
        manifest = cls(**content)
        if data != manifest.dump():
            raise CheckpointError("the manifest was altered: its digest does not match its content")
        return manifest

    def _content(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _load(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"not JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError("not a JSON object")
    return content


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_time(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _is_versions(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def is_inside(path: str) -> bool:
    """Whether a path stays inside the folder it is relative to, and is spelt in the one normal way."""
    pure = PurePosixPath(path)
    escapes = pure.is_absolute() or ".." in pure.parts or "\0" in path
    return bool(pure.parts) and not escapes and str(pure) == path


def _is_name(value: object) -> bool:
    return isinstance(value, str) and is_inside(value) and "/" not in value


def _is_files(value: object) -> bool:
    records = value.items() if isinstance(value, dict) else ()
    return bool(records) and all(is_inside(name) and _is_record(record) for name, record in records)


def _is_record(value: object) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"size", "sha256"}
        and _is_count(value["size"])
        and _is_sha256(value["sha256"])
    )


def _or_none(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


_CHECKS: dict[str, Callable[[object], bool]] = {
    "name": _is_name,
    "files": _is_files,
    "run_id": _or_none(_is_text),
    "step": _is_count,
    "samples": _or_none(_is_count),
    "epoch": _is_count,
    "attempt": _or_none(_is_count),
    "parent": _or_none(_is_sha256),
    "versions": _is_versions,
    "threads": _is_count,
    "device": _is_text,
    "created": _is_time,
}
