"""DSSE: a payload and signatures over exactly its bytes and its type."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from nimble_lightning.errors import CheckpointError
from nimble_lightning.proof.keys import key_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: type and payload, each with its length before it."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, key: Ed25519PrivateKey) -> bytes:
    """The payload in a signed envelope, as JSON."""
    signature = key.sign(pae(PAYLOAD_TYPE, payload))
    content = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key_id(key.public_key()), "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(content, indent=1).encode() + b"\n"


def is_envelope(content: Any) -> bool:
    """Whether the content of a file is a DSSE envelope rather than a bare statement."""
    return isinstance(content, dict) and "payload" in content


def unseal(content: dict[str, Any], key: Ed25519PublicKey) -> bytes:
    """The payload, once a signature of the key holds; else a CheckpointError says what does not."""
    from cryptography.exceptions import InvalidSignature

    payload, kind, signatures = _parts(content)
    for name, signature in signatures:
        try:
            key.verify(signature, pae(kind, payload))
        except InvalidSignature:
            if name == key_id(key):
                raise CheckpointError("the signature does not hold: the statement was altered") from None
        else:
            if kind != PAYLOAD_TYPE:
                raise CheckpointError(f"what is signed is {kind!r}, not an in-toto statement")
            return payload
    names = ", ".join(name[:16] for name, _ in signatures) or "nobody"
    raise CheckpointError(f"another key signed it: {names}; expected {key_id(key)[:16]}")


def _parts(content: dict[str, Any]) -> tuple[bytes, str, list[tuple[str, bytes]]]:
    try:
        signatures = [
            (str(entry.get("keyid", "")), base64.b64decode(entry["sig"], validate=True))
            for entry in content["signatures"]
        ]
        payload, kind = base64.b64decode(content["payload"], validate=True), content["payloadType"]
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error):
        raise CheckpointError("the envelope is not one of DSSE: it was damaged or altered") from None
    if not isinstance(kind, str):
        raise CheckpointError("the envelope does not say in text what it holds")
    return payload, kind, signatures
