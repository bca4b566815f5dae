"""A manifest is read back as it was written, and anything else is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from nimble_lightning.checkpoint.manifest import SCHEMA, FileRecord, Manifest
from nimble_lightning.errors import CheckpointError

MANIFEST = Manifest(
    name="a.ckpt",
    files={"a.ckpt": FileRecord(3, "0" * 64)},
    run_id="run",
    step=7,
    samples=None,
    epoch=0,
    attempt=2,
    parent="f" * 64,
    versions={"python": "3.11"},
    threads=2,
    device="cpu",
    created=1.5,
)


def test_it_is_read_back_as_written() -> None:
    assert Manifest.parse(MANIFEST.dump()) == MANIFEST


def test_the_digest_covers_every_field() -> None:
    others = [replace(MANIFEST, step=8), replace(MANIFEST, parent=None), replace(MANIFEST, threads=1)]
    assert len({manifest.digest for manifest in [MANIFEST, *others]}) == 4


@pytest.mark.parametrize("position", range(0, len(MANIFEST.dump()), 7))
def test_no_bit_of_it_can_change_unseen(position: int) -> None:
    data = bytearray(MANIFEST.dump())
    data[position] ^= 1 << position % 8
    with pytest.raises(CheckpointError):
        Manifest.parse(bytes(data))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../a.ckpt"},
        {"name": "sub/a.ckpt"},
        {"name": ""},
        {"name": 3},
        {"files": {}},
        {"files": {"../a": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"/etc/passwd": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"sub//a": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"a": {"size": -1, "sha256": "0" * 64}}},
        {"files": {"a": {"size": True, "sha256": "0" * 64}}},
        {"files": {"a": {"size": 1, "sha256": "0"}}},
        {"files": {"a": {"size": 1}}},
        {"step": -1},
        {"step": "7"},
        {"step": 7.0},
        {"created": float("nan")},
        {"versions": {"python": 3}},
        {"parent": "x"},
        {"run_id": 1},
        {"schema": "nimble_lightning.checkpoint/99"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_wrong_values_are_refused(change: dict[str, Any]) -> None:
    content = json.loads(MANIFEST.dump()) | change
    with pytest.raises(CheckpointError, match=r"schema|field"):
        Manifest.parse(json.dumps(content).encode())


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b"\xff", b"[" * 100_000], ids=["empty", "list", "cut", "bytes", "deep"]
)
def test_what_is_not_a_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError):
        Manifest.parse(data)


def test_a_newer_schema_says_which_is_known() -> None:
    with pytest.raises(CheckpointError, match=SCHEMA):
        Manifest.parse(b'{"schema": "other"}')


def test_finding_and_checking_checkpoints_needs_no_torch() -> None:
    code = (
        "import sys; from nimble_lightning.checkpoint import newest_whole, prune, sweep, verify;"
        "sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
