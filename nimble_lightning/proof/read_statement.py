"""A statement off the disk, with a signature that holds: the only way to one that is believed."""

from __future__ import annotations

import os
from pathlib import Path

from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.ops import plain_files
from nimble_lightning.proof import oms
from nimble_lightning.proof.envelope import is_envelope, unseal
from nimble_lightning.proof.keys import public_key
from nimble_lightning.proof.statement import LARGEST, Statement, load_json
from nimble_lightning.run_folder import BUNDLE, STATEMENT

# Base64 takes four bytes for three.
_LARGEST_FILE = LARGEST * 4 // 3 + (1 << 20)


def read_signed(folder: Path, key: str) -> Statement:
    """The statement in a run folder, its signature checked.

    Args:
        folder: Of the run.
        key: The public half: a path, or `env:NAME`.

    Raises:
        CheckpointError: It is not signed by this key, or altered.
        RequestError: There is nothing to check, or the key cannot be used.
    """
    if not folder.is_dir():
        raise RequestError(f"There is no folder {folder}.")
    data = _read(folder / STATEMENT)
    content = load_json(data, STATEMENT)
    if is_envelope(content):
        return Statement.parse(unseal(content, public_key(key)))
    if not os.path.lexists(folder / BUNDLE):
        raise CheckpointError(f"{STATEMENT} is not signed")
    # The bundle vouches for the file, so nothing in it is believed before.
    oms.check(folder, key)
    if _read(folder / STATEMENT) != data:
        raise CheckpointError(f"{STATEMENT} was changed while it was checked")
    return Statement.parse(data)


def _read(path: Path) -> bytes:
    try:
        return plain_files.read(path.parent, path.name, _LARGEST_FILE)
    except FileNotFoundError:
        raise CheckpointError(
            f"There is no {path.name} in {path.parent}, so the run was not signed (nimble-cli sign DIR)"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error.strerror}") from None
