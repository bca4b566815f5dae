"""Keys: made for their owner alone, and read from a file or by reference to the environment."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nimble_lightning.errors import RequestError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

INSTALL = "Signatures need cryptography, which is installed with this package: pip install cryptography"
FROM_ENVIRONMENT = "env:"
# A key is a few lines; whatever is longer is something else.
_LARGEST_KEY = 64 << 10


def public_path(path: Path) -> Path:
    """Where the public half of the key at `path` is."""
    return path.with_name(f"{path.name.removesuffix('.pem')}.pub.pem")


def generate(path: Path, passphrase: str | None = None, *, kind: str = "ed25519") -> Path:
    """Make a key that only its owner can read; returns where its public half is. None is overwritten.

    Args:
        path: Of the private half.
        passphrase: Encrypts it.
        kind: `ed25519`, or `ecdsa` (P-256) for OMS.
    """
    half, public = path.expanduser(), public_path(path.expanduser())
    for taken in (half, public):
        if os.path.lexists(taken):
            raise RequestError(f"There is a file {taken} already; keys are not overwritten. Choose another.")
    key = _new(kind)
    encoding, formats, public_formats, encryption = _formats(passphrase)
    try:
        half.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(half, key.private_bytes(encoding, formats, encryption), 0o600)
        _write(public, key.public_key().public_bytes(encoding, public_formats), 0o644)
    except OSError as error:
        raise RequestError(f"The key {half} cannot be written: {error.strerror}.") from None
    return public


def private_key(
    reference: str, passphrase: str | None = None, environment: Mapping[str, str] = os.environ
) -> Ed25519PrivateKey:
    """The Ed25519 key at a path, or in the variable that `env:NAME` names."""
    key = read_private(reference, passphrase, environment)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not isinstance(key, Ed25519PrivateKey):
        raise RequestError(
            f"The key {reference} is not an Ed25519 key; make one: nimble-cli keygen --out FILE"
        )
    return key


def read_private(
    reference: str, passphrase: str | None = None, environment: Mapping[str, str] = os.environ
) -> Any:
    """A private key of any kind."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ModuleNotFoundError:
        raise RequestError(INSTALL) from None
    data = read_pem(reference, environment)
    encrypted = b"ENCRYPTED" in data
    if encrypted and passphrase is None:
        raise RequestError(f"The key {reference} has a passphrase; say where it is: passphrase=env:NAME")
    try:
        return load_pem_private_key(data, passphrase.encode() if passphrase and encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        reason = "the passphrase is wrong, or it is damaged" if encrypted else "it is no private key in PEM"
        raise RequestError(f"The key {reference} cannot be used: {reason}.") from None


def public_key(reference: str, environment: Mapping[str, str] = os.environ) -> Ed25519PublicKey:
    """The public half of an Ed25519 key."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ModuleNotFoundError:
        raise RequestError(INSTALL) from None
    data = read_pem(reference, environment)
    if b"PRIVATE KEY" in data:
        raise RequestError(f"{reference} is a private key; to verify, give its public half, *.pub.pem.")
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise RequestError(f"The key {reference} cannot be used: it is no public key in PEM.") from None
    if not isinstance(key, Ed25519PublicKey):
        raise RequestError(f"The key {reference} is not an Ed25519 key, and this run is signed with one.")
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """The name of a key, as securesystemslib would give it."""
    content = {"keytype": "ed25519", "keyval": {"public": key.public_bytes_raw().hex()}, "scheme": "ed25519"}
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def resolve(reference: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The passphrase that `env:NAME` names; written out it would be in the run's own configuration."""
    if reference is None:
        return None
    if not reference.startswith(FROM_ENVIRONMENT):
        raise RequestError("A passphrase is given by reference, passphrase=env:NAME, never written out.")
    return _variable(reference, environment)


def read_pem(reference: str, environment: Mapping[str, str] = os.environ) -> bytes:
    """The text of a key, wherever it is."""
    if reference.startswith(FROM_ENVIRONMENT):
        # Secret stores of build services often keep a key on one line.
        return _variable(reference, environment).replace("\\n", "\n").encode()
    path = Path(reference).expanduser()
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise RequestError(f"The key {path} is not a file.")
        with open(path, "rb") as file:
            return file.read(_LARGEST_KEY)
    except OSError as error:
        raise RequestError(
            f"The key {path} cannot be read: {error.strerror}. nimble-cli keygen --out FILE makes one."
        ) from None


def _variable(reference: str, environment: Mapping[str, str]) -> str:
    name = reference.removeprefix(FROM_ENVIRONMENT)
    if not environment.get(name):
        raise RequestError(f"{reference}: the environment variable {name} is not set.")
    return environment[name]


def _new(kind: str) -> Ed25519PrivateKey | EllipticCurvePrivateKey:
    try:
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    except ModuleNotFoundError:
        raise RequestError(INSTALL) from None
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "ecdsa":
        return ec.generate_private_key(ec.SECP256R1())
    raise RequestError(f"There is no kind of key called {kind!r}; there are ed25519 and ecdsa.")


def _formats(passphrase: str | None) -> Any:
    from cryptography.hazmat.primitives import serialization as s

    encryption = s.BestAvailableEncryption(passphrase.encode()) if passphrase else s.NoEncryption()
    return s.Encoding.PEM, s.PrivateFormat.PKCS8, s.PublicFormat.SubjectPublicKeyInfo, encryption


def _write(path: Path, data: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as file:
        file.write(data)
