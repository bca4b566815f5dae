"""Only a folder that holds a run and nothing else is signed."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from proof_cases import STEPS, flip, make_key, make_run, sign_with, write

from nimble_lightning.errors import RequestError
from nimble_lightning.proof import Ed25519, backend, sign, verify
from nimble_lightning.proof.secret_scan import secrets_of
from nimble_lightning.run_folder import STATEMENT

SECRET = {"TOKEN": b"s3cr3t-and-long"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, str]:
    return make_key(tmp_path)


def test_a_file_that_is_no_part_of_a_run_stops_the_signature(run: Path, keys: tuple[str, str]) -> None:
    write(run / "notes/todo.txt", "mine")
    with pytest.raises(RequestError, match="notes/todo.txt is no part of a run.*signature.also"):
        sign_with(run, keys[0])
    assert not (run / STATEMENT).exists()
    sign(run, Ed25519(keys[0]).unlock(), also=["notes/"])
    assert verify(run, keys[1]).verified
    flip(run / "notes/todo.txt")
    assert not verify(run, keys[1]).verified


def test_a_link_stops_the_signature(run: Path, keys: tuple[str, str]) -> None:
    (run / "show/passwd").symlink_to("/etc/passwd")
    with pytest.raises(RequestError, match="show/passwd is a link"):
        sign_with(run, keys[0])


@pytest.mark.parametrize(
    "file", ["log.txt", "errors/attempt-1.rank-0.json", "outbox/events.jsonl", "run.json"]
)
def test_a_secret_that_lies_open_stops_the_signature(run: Path, keys: tuple[str, str], file: str) -> None:
    write(run / file, (run / file).read_text() + "x" * (4 << 20) + "s3cr3t-and-long")
    with pytest.raises(RequestError, match=f"{file} holds the value of TOKEN") as refusal:
        sign(run, Ed25519(keys[0]).unlock(), secrets=SECRET)
    assert "s3cr3t" not in str(refusal.value)


def test_a_secret_in_what_a_checkpoint_remembers_stops_the_signature(
    run: Path, keys: tuple[str, str]
) -> None:
    path = run / "checkpoints/trained.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("trained/data.pkl", b"..s3cr3t-and-long..")
    with pytest.raises(RequestError, match="trained.pt holds the value of TOKEN"):
        sign(run, Ed25519(keys[0]).unlock(), secrets=SECRET)


def test_a_private_key_in_the_folder_stops_the_signature(run: Path, keys: tuple[str, str]) -> None:
    write(run / "show/key.txt", Path(keys[0]).read_text())
    with pytest.raises(RequestError, match="show/key.txt holds a private key"):
        sign_with(run, keys[0])


def test_a_damaged_manifest_stops_the_signature(run: Path, keys: tuple[str, str]) -> None:
    flip(run / STEPS / "step-00000020.ckpt.manifest.json")
    with pytest.raises(RequestError, match="cannot be vouched for"):
        sign_with(run, keys[0])


def test_a_checkpoint_that_rotted_before_it_was_signed_is_found(run: Path, keys: tuple[str, str]) -> None:
    flip(run / STEPS / "step-00000020.ckpt")
    sign_with(run, keys[0])
    assert [p.kind for p in verify(run, keys[1]).problems] == ["altered"]


def test_a_folder_without_a_run_is_refused(tmp_path: Path, keys: tuple[str, str]) -> None:
    with pytest.raises(RequestError, match="holds no run"):
        sign_with(tmp_path, keys[0])


def test_a_run_that_went_on_is_signed_anew(run: Path, keys: tuple[str, str]) -> None:
    sign_with(run, keys[0])
    write(run / "log.txt", "epoch 2")
    assert not verify(run, keys[1]).verified
    sign_with(run, keys[0])
    assert verify(run, keys[1]).verified


def test_without_a_key_one_of_your_own_is_made_once(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "HOME_KEY", tmp_path / "home" / "key.pem")
    sign(run, Ed25519().unlock())
    first = (tmp_path / "home" / "key.pem").read_bytes()
    sign(run, Ed25519().unlock())
    assert (tmp_path / "home" / "key.pem").read_bytes() == first
    assert os.stat(tmp_path / "home").st_mode & 0o077 == 0
    assert verify(run, str(tmp_path / "home" / "key.pub.pem")).verified


def test_references_to_the_environment_are_secrets_unless_they_are_no_secret() -> None:
    config = "urls: ['${oc.env:URL}']\nkey: env:KEY\nport: ${oc.env:PORT,80}\nhome: ${oc.env:HOME}\n"
    environment = {"URL": "slack://token/abc", "KEY": "very-secret", "PORT": "8080", "HOME": "/home/somebody"}
    assert secrets_of(config, environment) == {"URL": b"slack://token/abc", "KEY": b"very-secret"}
