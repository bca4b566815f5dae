"""Whatever is done to a signed run folder is found and named; an honest one always passes."""

from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import proof_cases as cases
import pytest
from proof_cases import STEPS

from nimble_lightning.errors import RequestError
from nimble_lightning.proof import Expected, verify
from nimble_lightning.proof.verification_report import Report
from nimble_lightning.run_folder import STATEMENT

OLD, NEW = f"{STEPS}/step-00000010.ckpt", f"{STEPS}/step-00000020.ckpt"
# One file of every kind that a statement vouches for.
KINDS = [
    *cases.FILES,
    "job.yaml",
    "run.json",
    NEW,
    f"{NEW}.manifest.json",
    "checkpoints/best/best-1.ckpt",
    "checkpoints/best/best-1.ckpt.manifest.json",
]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A signed run, and the key to verify it with."""
    place = tmp_path_factory.mktemp("signed")
    private, public = cases.make_key(place)
    folder = cases.make_run(place / "run")
    cases.sign_with(folder, private)
    return folder, public


@pytest.fixture
def run(signed: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of it to meddle with."""
    return cases.copy(signed[0], tmp_path / "copy")


def told(report: Report) -> dict[str, str]:
    return {problem.file: problem.kind for problem in report.problems}


def test_an_honest_run_passes_and_says_what_it_was(signed: tuple[Path, str], run: Path) -> None:
    report = verify(run, signed[1])
    assert report.verified, report.lines()
    assert report.claims["run_id"] == "first"
    assert report.claims["step"] == 20
    assert report.files == len(KINDS) + 2, "the older checkpoint and its manifest besides"
    assert report.to_json()["verified"] is True


def test_an_honest_run_passes_every_time(signed: tuple[Path, str], run: Path) -> None:
    assert all(verify(run, signed[1]).verified for _ in range(25))


@pytest.mark.parametrize("file", KINDS)
def test_a_flipped_bit_is_found(signed: tuple[Path, str], run: Path, file: str) -> None:
    cases.flip(run / file)
    assert told(verify(run, signed[1]))[file] == "altered"


@pytest.mark.parametrize("file", KINDS)
def test_a_file_cut_short_is_found(signed: tuple[Path, str], run: Path, file: str) -> None:
    cases.cut(run / file)
    assert told(verify(run, signed[1]))[file] == "size"


@pytest.mark.parametrize("file", KINDS)
def test_two_files_swapped_are_found(signed: tuple[Path, str], run: Path, file: str) -> None:
    other = "config.yaml" if file != "config.yaml" else "log.txt"
    cases.swap(run / file, run / other)
    found = told(verify(run, signed[1]))
    assert (found[file], found[other]) == ("swapped", "swapped")


@pytest.mark.parametrize("file", KINDS)
def test_a_renamed_file_is_found_with_its_new_name(signed: tuple[Path, str], run: Path, file: str) -> None:
    os.rename(run / file, run / f"{file}.bak")
    problem = next(p for p in verify(run, signed[1]).problems if p.file == file)
    assert (problem.kind, problem.text) == ("renamed", f"was renamed to {file}.bak")


@pytest.mark.parametrize("file", KINDS)
def test_a_missing_file_is_found(signed: tuple[Path, str], run: Path, file: str) -> None:
    (run / file).unlink()
    assert told(verify(run, signed[1]))[file] == "missing"


@pytest.mark.parametrize(
    "file",
    ["notes.txt", "show/99.txt", f"{STEPS}/step-00000030.ckpt", ".hidden", "export/more.bin", "x/y/z.py"],
)
def test_an_added_file_is_found(signed: tuple[Path, str], run: Path, file: str) -> None:
    cases.write(run / file, "from elsewhere")
    assert told(verify(run, signed[1]))[file] == "extra"


def test_what_comes_and_goes_around_a_run_is_no_matter(signed: tuple[Path, str], run: Path) -> None:
    cases.write(run / "outbox/events.jsonl", "another event")
    cases.write(run / "outbox/delivered.jsonl", "")
    (run / "run.lock").unlink()
    (run / "empty").mkdir()
    assert verify(run, signed[1]).verified


def test_an_older_checkpoint_in_place_of_the_newest_is_found(signed: tuple[Path, str], run: Path) -> None:
    shutil.copy(run / OLD, run / NEW)
    report = verify(run, signed[1])
    assert told(report)[NEW] == "rolled_back"
    assert OLD in str(report.problems[0])


def test_an_older_checkpoint_with_a_manifest_made_for_it_is_found(
    signed: tuple[Path, str], run: Path
) -> None:
    cases.commit(run / NEW, "first", 10, None, 0.0)
    found = told(verify(run, signed[1]))
    assert {found[NEW], found[f"{NEW}.manifest.json"]} <= {"altered", "size"}


def test_a_sharded_checkpoint_is_vouched_for_file_by_file(tmp_path: Path) -> None:
    private, public = cases.make_key(tmp_path)
    run = cases.make_run(tmp_path / "run")
    shards = cases.commit_folder(run / f"{STEPS}/step-00000030.ckpt", "first", 30)
    cases.sign_with(run, private)
    report = verify(run, public)
    assert report.verified, report.lines()
    assert report.claims["step"] == 30
    cases.flip(shards / "b.distcp")
    assert told(verify(run, public)) == {f"{STEPS}/step-00000030.ckpt/b.distcp": "altered"}


def test_a_whole_run_rolled_back_with_its_older_statement_is_found_by_what_is_expected(
    tmp_path: Path,
) -> None:
    private, public = cases.make_key(tmp_path)
    older = cases.make_run(tmp_path / "older", steps=(5, 10))
    cases.sign_with(older, private)
    assert verify(older, public).verified
    assert told(verify(older, public, Expected(step=20))) == {"": "step"}
    assert told(verify(older, public, Expected(attempt=2))) == {"": "attempt"}
    assert told(verify(older, public, Expected(run_id="second"))) == {"": "run"}
    assert verify(older, public, Expected("first", 10, 1)).verified


def test_another_runs_statement_is_named_as_that(signed: tuple[Path, str], run: Path, tmp_path: Path) -> None:
    shutil.copy(run / STATEMENT, (other := cases.make_run(tmp_path / "other", "second")) / STATEMENT)
    report = verify(other, signed[1])
    assert report.problems[0].kind == "run"
    assert "'first'" in str(report.problems[0])
    assert "'second'" in str(report.problems[0])


def test_a_checkpoint_of_another_run_is_found(signed: tuple[Path, str], run: Path, tmp_path: Path) -> None:
    other = cases.make_run(tmp_path / "other", "second")
    for name in (NEW, f"{NEW}.manifest.json"):
        shutil.copy(other / name, run / name)
    assert told(verify(run, signed[1])).keys() >= {NEW, f"{NEW}.manifest.json"}


def test_another_key_is_refused(run: Path, tmp_path: Path) -> None:
    _, stranger = cases.make_key(tmp_path, "stranger")
    report = verify(run, stranger)
    assert [p.kind for p in report.problems] == ["key"]
    assert not report.claims, "nothing of it is believed"


def test_a_statement_signed_anew_by_somebody_else_is_refused(
    signed: tuple[Path, str], run: Path, tmp_path: Path
) -> None:
    private, _ = cases.make_key(tmp_path, "stranger")
    cases.flip(run / NEW)
    cases.sign_with(run, private)
    assert [p.kind for p in verify(run, signed[1]).problems] == ["key"]


def _payload(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    def edit(envelope: dict[str, Any]) -> None:
        statement = json.loads(base64.b64decode(envelope["payload"]))
        change(statement)
        envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

    return edit


EDITS: dict[str, Callable[[dict[str, Any]], None]] = {
    "a better metric": _payload(lambda s: s["predicate"]["metrics"].update(a=2.0)),
    "a file less": _payload(lambda s: s["subject"].pop()),
    "another digest": _payload(lambda s: s["subject"][0]["digest"].update(sha256="0" * 64)),
    "another type": lambda e: e.update(payloadType="application/json"),
    "another signature": lambda e: e["signatures"][0].update(sig=base64.b64encode(b"x" * 64).decode()),
    "no signature": lambda e: e.update(signatures=[]),
    "no base64": lambda e: e.update(payload="%%%"),
    "no payload": lambda e: e.update(payload=None),
    "a name for a signature": lambda e: e.update(signatures="trust me"),
    "the bare statement": lambda e: e.update(json.loads(base64.b64decode(e.pop("payload")))),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_statement_is_refused(
    signed: tuple[Path, str], run: Path, edit: Callable[[dict[str, Any]], None]
) -> None:
    envelope = json.loads((run / STATEMENT).read_text())
    edit(envelope)
    (run / STATEMENT).write_text(json.dumps(envelope))
    report = verify(run, signed[1])
    assert [p.kind for p in report.problems][0] in ("signature", "key", "statement")
    assert not report.claims


def test_a_run_without_a_statement_is_not_verified(signed: tuple[Path, str], run: Path) -> None:
    (run / STATEMENT).unlink()
    report = verify(run, signed[1])
    assert "was not signed" in str(report.problems[0])


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"a": 1}', "[" * 100_000])
def test_a_statement_that_is_none_is_refused(signed: tuple[Path, str], run: Path, text: str) -> None:
    (run / STATEMENT).write_text(text)
    assert not verify(run, signed[1]).verified


def test_a_statement_of_five_gigabytes_is_refused_unread(signed: tuple[Path, str], run: Path) -> None:
    os.truncate(run / STATEMENT, 5 << 30)
    report = verify(run, signed[1])
    assert "5,368,709,120 bytes" in str(report.problems[0])


@pytest.mark.parametrize("file", ["run.json", NEW, "show/01.txt", STATEMENT, "outbox/events.jsonl"])
def test_a_link_is_refused_wherever_it_leads(
    signed: tuple[Path, str], run: Path, tmp_path: Path, file: str
) -> None:
    shutil.move(run / file, tmp_path / "elsewhere")
    (run / file).symlink_to(tmp_path / "elsewhere")
    assert not verify(run, signed[1]).verified


def test_a_folder_that_is_a_link_is_refused(signed: tuple[Path, str], run: Path, tmp_path: Path) -> None:
    shutil.move(run / "show", tmp_path / "show")
    (run / "show").symlink_to(tmp_path / "show")
    assert told(verify(run, signed[1]))["show"] == "link"


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(signed: tuple[Path, str], run: Path) -> None:
    for name in ("log.txt", "run.json"):
        (run / name).unlink()
        os.mkfifo(run / name)
    assert told(verify(run, signed[1]))["log.txt"] == "link"


class Explodes:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def test_nothing_is_unpickled(signed: tuple[Path, str], run: Path) -> None:
    (run / NEW).write_bytes(pickle.dumps(Explodes()))
    assert not verify(run, signed[1]).verified
    assert not Path("exploded").exists()


def test_a_folder_that_is_not_there_is_a_wrong_request(signed: tuple[Path, str]) -> None:
    with pytest.raises(RequestError, match="no folder"):
        verify("nowhere", signed[1])
