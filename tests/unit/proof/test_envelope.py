"""Statements are what the rest of the world understands: DSSE, in-toto, Ed25519."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from proof_cases import make_key, make_run, sign_with
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from nimble_lightning.errors import CheckpointError
from nimble_lightning.proof.envelope import pae, seal, unseal
from nimble_lightning.proof.keys import key_id, private_key, public_key


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, str]:
    return make_key(tmp_path)


def test_what_is_signed_is_that_of_the_specification() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_a_sealed_payload_comes_out_as_it_went_in(keys: tuple[str, str]) -> None:
    envelope = json.loads(seal(b"payload", private_key(keys[0])))
    assert unseal(envelope, public_key(keys[1])) == b"payload"


def test_the_type_is_signed_as_well(keys: tuple[str, str]) -> None:
    envelope = json.loads(seal(b"payload", private_key(keys[0])))
    envelope["payloadType"] = "text/plain"
    with pytest.raises(CheckpointError, match="altered"):
        unseal(envelope, public_key(keys[1]))


def test_securesystemslib_verifies_a_statement(keys: tuple[str, str], tmp_path: Path) -> None:
    sign_with(make_run(tmp_path / "run"), keys[0])
    envelope = Envelope.from_dict(json.loads((tmp_path / "run/statement.json").read_text()))
    key = SSlibKey.from_crypto(load_pem_public_key(Path(keys[1]).read_bytes()))
    assert key.keyid == key_id(public_key(keys[1]))
    assert envelope.verify([key], threshold=1)
    envelope.payload += b" "
    with pytest.raises(VerificationError):
        envelope.verify([key], threshold=1)


def test_ten_lines_of_cryptography_verify_a_statement(keys: tuple[str, str], tmp_path: Path) -> None:
    sign_with(make_run(tmp_path / "run"), keys[0])
    envelope = json.loads((tmp_path / "run/statement.json").read_text())
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    load_pem_public_key(Path(keys[1]).read_bytes()).verify(signature, signed)
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert all(len(subject["digest"]["sha256"]) == 64 for subject in statement["subject"])
