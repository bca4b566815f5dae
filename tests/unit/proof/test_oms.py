"""The second format: what OpenSSF Model Signing makes and checks itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from proof_cases import flip, make_key, make_run, write

from nimble_lightning.errors import RequestError
from nimble_lightning.proof import OMS, generate, sign, verify
from nimble_lightning.run_folder import BUNDLE, STATEMENT


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    place = tmp_path_factory.mktemp("keys")
    return str(place / "key.pem"), str(generate(place / "key.pem", "sesame", kind="ecdsa"))


@pytest.fixture
def run(tmp_path: Path, keys: tuple[str, str]) -> Path:
    folder = make_run(tmp_path / "run")
    sign(folder, OMS(keys[0], "env:WORD").unlock({"WORD": "sesame"}))
    return folder


def test_a_run_signed_so_is_verified_by_us_and_by_model_signing(run: Path, keys: tuple[str, str]) -> None:
    from model_signing import verifying

    report = verify(run, keys[1])
    assert report.verified, report.lines()
    assert report.claims["run_id"] == "first"
    theirs = verifying.Config().use_elliptic_key_verifier(public_key=Path(keys[1]))
    theirs.verify(run, run / BUNDLE)
    write(run / "outbox/events.jsonl", "later")
    theirs.verify(run, run / BUNDLE)
    flip(run / "log.txt")
    with pytest.raises(ValueError, match="log.txt"):
        theirs.verify(run, run / BUNDLE)


@pytest.mark.parametrize("file", ["log.txt", STATEMENT, BUNDLE, "checkpoints/best/best-1.ckpt"])
def test_a_change_is_found_and_named(run: Path, keys: tuple[str, str], file: str) -> None:
    flip(run / file)
    report = verify(run, keys[1])
    assert not report.verified
    assert file == BUNDLE or file in str(report.problems[0])


def test_added_and_missing_files_are_found(run: Path, keys: tuple[str, str]) -> None:
    write(run / "show/99.txt", "extra")
    assert "show/99.txt" in str(verify(run, keys[1]).problems[0])
    (run / "show/99.txt").rename(run / "outbox/99.txt")
    assert verify(run, keys[1]).verified
    (run / BUNDLE).unlink()
    assert "is not signed" in str(verify(run, keys[1]).problems[0])


def test_another_key_is_refused(run: Path, tmp_path: Path) -> None:
    stranger = generate(tmp_path / "stranger.pem", kind="ecdsa")
    assert [p.kind for p in verify(run, str(stranger)).problems] == ["key"]
    with pytest.raises(RequestError, match="no public key on P-256"):
        verify(run, make_key(tmp_path, "edwards")[1])


def test_a_key_of_another_kind_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="not on P-256"):
        OMS(make_key(tmp_path)[0]).unlock()
    with pytest.raises(RequestError, match="needs signature.key"):
        OMS().unlock()
