"""`signature=oms`: the whole folder, statement included, signed in the format of OpenSSF Model Signing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.ops import plain_files
from nimble_lightning.proof.backend import Backend, Seal
from nimble_lightning.proof.keys import read_pem, read_private, resolve
from nimble_lightning.run_folder import BUNDLE, LOCK, OUTBOX, SAVE_NOW, STATEMENT

_INSTALL = 'OMS signatures need model-signing: pip install "nimble-lightning[sign-oms]"'
# In what model signing says: changed files one by one, missing and additional ones as a list.
_NAMES = re.compile(r"(?:Hash mismatch for |(?:Extra|Missing) files [^:]*: )\\?'?([^'\"\\\]]+)")
# What comes and goes, written into the bundle, so that its own tools leave it out as well.
_IGNORED = (BUNDLE, OUTBOX, LOCK, SAVE_NOW)


class OMS(Backend):
    """How a run is signed, with a key on the curve P-256 (`nimble-cli keygen --kind ecdsa`)."""

    def unlock(self, environment: Mapping[str, str] = os.environ) -> Seal:
        """Read the key, so that whatever is wrong with it is said before the run, not after."""
        if self.key is None:
            raise RequestError("signature=oms needs signature.key: nimble-cli keygen --kind ecdsa --out FILE")
        passphrase, pem = resolve(self.passphrase, environment), read_pem(self.key, environment)
        key = read_private(self.key, passphrase, environment)
        if getattr(getattr(key, "curve", None), "name", "") != "secp256r1":
            raise RequestError(
                f"The key {self.key} is not on P-256: nimble-cli keygen --kind ecdsa --out FILE"
            )
        config = _library("signing").Config()

        def write(folder: Path, statement: bytes) -> None:
            plain_files.replace(folder / STATEMENT, statement)
            with _as_file(pem) as path:
                config.use_elliptic_key_signer(
                    private_key=path, password=passphrase.encode() if passphrase else None
                )
            hashing = _library("hashing").Config().set_ignored_paths(paths=_IGNORED, ignore_git_paths=False)
            config.set_hashing_config(hashing).sign(folder, folder / BUNDLE)

        return write


def check(folder: Path, key: str) -> None:
    """A CheckpointError names the files that are not as the bundle in the folder says."""
    config = _library("verifying").Config()
    from cryptography.exceptions import InvalidSignature

    with _as_file(read_pem(key)) as path:
        try:
            config.use_elliptic_key_verifier(public_key=path)
        except (ValueError, AttributeError):
            raise RequestError(f"The key {key} is no public key on P-256, as OMS has them.") from None
    try:
        config.verify(folder, folder / BUNDLE)
    except (InvalidSignature, ValueError, KeyError, IndexError, OSError) as error:
        if "Key mismatch" in str(error):
            raise CheckpointError("another key signed it") from None
        files = _NAMES.findall(str(error)) if "Signature mismatch" in str(error) else []
        text = f"these files are not as signed: {', '.join(sorted(files))}" if files else "it was altered"
        raise CheckpointError(f"the OMS signature does not hold: {text}") from None


@contextmanager
def _as_file(pem: bytes) -> Iterator[Path]:
    """Model signing takes paths; the key may be in a variable."""
    with TemporaryDirectory(prefix="nimble-key-") as folder:
        path = Path(folder, "key.pem")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        yield path


def _library(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"model_signing.{module}")
    except ModuleNotFoundError:
        raise RequestError(_INSTALL) from None
