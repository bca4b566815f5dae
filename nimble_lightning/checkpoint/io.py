"""Lightning's checkpoint plugin, with saves that are whole or absent and loads that are checked first."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from typing_extensions import override

from nimble_lightning.checkpoint.commit import commit_file
from nimble_lightning.checkpoint.contents.hyper_parameters import with_plain_settings
from nimble_lightning.checkpoint.file_names import retired_path
from nimble_lightning.checkpoint.frozen_weights import FrozenWeights, complete
from nimble_lightning.checkpoint.hash_file import HashingFile
from nimble_lightning.checkpoint.integrity import NOT_LOADED, manifests_of, not_loaded, open_verified
from nimble_lightning.checkpoint.manifest import Manifest
from nimble_lightning.checkpoint.position import RunFacts, check_step, describe
from nimble_lightning.checkpoint.retention import prune_retired, withdraw
from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.ops.lightning_packages import serves_both
from nimble_lightning.ops.plain_files import open_plain

_ZIP = b"PK\x03\x04"


@serves_both
class NimbleCheckpointIO(CheckpointIO):
    """Commits each checkpoint with a manifest, and loads none that does not match its own.

    ``checkpoint["nimble"]``, if there, gives the manifest ``run_id``, ``samples`` and ``attempt``.
    A checkpoint that Lightning asks to remove stays, marked, until two others are committed.

    Args:
        allow_foreign: Also load files without a manifest; they too are read with ``weights_only=True`` only.
        frozen_folder: Where weights that are not trained are kept once for the checkpoints in its folders;
            None: in each checkpoint.

    Example::

        Trainer(plugins=[NimbleCheckpointIO()])
    """

    def __init__(self, *, allow_foreign: bool = False, frozen_folder: Path | None = None) -> None:
        self.allow_foreign = allow_foreign
        self._frozen = None if frozen_folder is None else FrozenWeights(frozen_folder)
        self._parent: str | None = None

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        if storage_options is not None:
            raise RequestError(f"`storage_options={storage_options!r}` is not for local files; leave it out.")
        facts = RunFacts.of(checkpoint)
        self.commit(self.without_frozen(checkpoint, local(path)), local(path), facts)

    def without_frozen(self, checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
        """The checkpoint less the weights that are kept once for all."""
        return checkpoint if self._frozen is None else self._frozen.without(checkpoint, path)

    def commit(self, checkpoint: Mapping[str, Any], path: Path, facts: RunFacts) -> Manifest:
        """Save ``checkpoint`` at ``path`` with the given facts in its manifest."""
        checkpoint = with_plain_settings(checkpoint)
        retired_path(path).unlink(missing_ok=True)
        manifest = commit_file(
            path,
            lambda file: _write(checkpoint, file),
            lambda files: describe(path.name, files, facts, self._parent),
        )
        self._parent = manifest.digest
        prune_retired(path.parent)
        return manifest

    @override
    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        refuse_code(weights_only)
        path = local(path)
        with self._open(path) as (file, manifest):
            checkpoint = complete(_read(file, path, map_location), path, map_location)
        if manifest is not None:
            check_step(checkpoint, manifest, path)
            self._parent = self._parent or manifest.digest
        if self._frozen is not None:
            self._frozen.know(checkpoint)
        return checkpoint

    @override
    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        path = local(path)
        if os.path.lexists(path):
            withdraw(path)

    def _open(self, path: Path) -> AbstractContextManager[tuple[BinaryIO, Manifest | None]]:
        if path.is_dir():
            raise CheckpointError(f"Checkpoint {path} is sharded; load it with the strategy that saved it.")
        if self.allow_foreign and path.exists() and not manifests_of(path):
            return _open_foreign(path)
        return open_verified(path)


@contextmanager
def _open_foreign(path: Path) -> Iterator[tuple[BinaryIO, None]]:
    with open_plain(path) as file:
        yield file, None


def local(path: str | os.PathLike[str]) -> Path:
    """An absolute path of this machine; anything with a protocol is refused."""
    text = os.fspath(path)
    if "://" in text:
        raise CheckpointError(f"{text} is not a local path and cannot be checked; download it first.")
    return Path(os.path.abspath(text))


def _write(checkpoint: Mapping[str, Any], file: HashingFile) -> None:
    torch.save(checkpoint, cast(BinaryIO, file))
    file.check()
    refuse_unsafe(file.name)


def _read(file: BinaryIO, path: Path, map_location: Any) -> dict[str, Any]:
    mapped = file.read(len(_ZIP)) == _ZIP
    file.seek(0)
    # Mapping needs a path; this one leads to the open file, not to whatever has its name by now.
    source = f"/proc/self/fd/{file.fileno()}" if mapped and os.path.exists("/proc/self/fd") else file
    try:
        checkpoint = torch.load(source, map_location=map_location, weights_only=True, mmap=source is not file)
    except NOT_LOADED as error:
        raise not_loaded(path, error) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"Checkpoint {path} holds a {type(checkpoint).__name__}, expected a dict.")
    return checkpoint


def refuse_unsafe(file: str | os.PathLike[str]) -> None:
    """Raise if something in a file just saved could not be loaded again."""
    unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    if unsafe:
        raise CheckpointError(
            f"The checkpoint holds {', '.join(sorted(unsafe))}, which weights_only=True refuses to load; "
            "keep plain values and tensors in the state and in `save_hyperparameters`."
        )


def refuse_code(weights_only: bool | None) -> None:
    """Raise if a load that may run code is asked for."""
    if weights_only is False:
        raise CheckpointError("`weights_only=False` would run code from the checkpoint; leave it out.")
