"""A statement is read only if every part of it can be checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from proof_cases import make_key, make_run, sign_with

from nimble_lightning.checkpoint.manifest import FileRecord
from nimble_lightning.errors import CheckpointError
from nimble_lightning.proof.statement import SCHEMA, Statement
from nimble_lightning.proof.verification import read_signed

PREDICATE = {"schema": SCHEMA, "run_id": "a", "step": 1, "attempts": [], "config": {}, "checkpoints": []}


def changed(change: Callable[[dict[str, Any]], Any]) -> bytes:
    content = json.loads(Statement({"log.txt": FileRecord(1, "0" * 64)}, PREDICATE).dump())
    change(content)
    return json.dumps(content).encode()


def name(value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["subject"][0].update(name=value)


def test_a_statement_is_read_as_it_was_written() -> None:
    statement = Statement.parse(changed(lambda content: None))
    assert statement.subjects == {"log.txt": FileRecord(1, "0" * 64)}
    assert statement.predicate == PREDICATE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(_type="https://in-toto.io/Statement/v2"), "unknown _type.*newer version"),
        (lambda c: c.update(predicateType="https://slsa.dev"), "unknown predicateType"),
        (lambda c: c["predicate"].update(schema="nimble_lightning.run/2"), "unknown schema.*newer version"),
        (lambda c: c.update(predicate=[]), "unknown schema"),
        (lambda c: c["predicate"].pop("run_id"), "no usable 'run_id'"),
        (lambda c: c["predicate"].update(checkpoints=[1]), "malformed"),
        (lambda c: c.update(subject=None), "lists no files"),
        (lambda c: c.update(subject=[1]), "no name, digest or size"),
        (lambda c: c["subject"].append(c["subject"][0]), "twice"),
        (lambda c: c["subject"][0]["digest"].update(sha256="abc"), "no sha256"),
        (lambda c: c["subject"][0]["annotations"].update(size=-1), "malformed"),
        (name(1), "malformed"),
        (name("../run.json"), "outside"),
        (name("/etc/passwd"), "outside"),
        (name("show/../../x"), "outside"),
        (name("./log.txt"), "outside"),
        (name("a\0b"), "outside"),
        (name(""), "outside"),
    ],
)
def test_anything_else_is_refused(change: Callable[[dict[str, Any]], Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        Statement.parse(changed(change))


def test_the_record_tells_the_whole_run_and_no_secret(tmp_path: Path) -> None:
    private, public = make_key(tmp_path)
    folder = make_run(tmp_path / "run")
    (folder / "job.yaml").write_text("run_id: first\nseed: 3\ntrainer: a.py\nurl: ${oc.env:MY_URL}\n")
    sign_with(folder, private)
    told = read_signed(folder, public).predicate
    assert told["config"]["url"] == "${oc.env:MY_URL}"
    assert told["seeds"] == {"seed": 3}
    assert told["code"]["trainer"]["name"] == "my.py"
    assert told["usage"] == {"wall_seconds": 3}
    assert told["best_checkpoint"] == "checkpoints/best/best-1.ckpt"
    chain = {entry["manifest"]: entry for entry in told["checkpoints"]}
    newest = told["checkpoints"][-1]
    assert [chain[newest["parent"]]["step"], newest["step"]] == [20, 20]
