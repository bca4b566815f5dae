"""Whether a checkpoint is whole: decided from its bytes, before anything in it is unpickled."""

from __future__ import annotations

import os
import pickle
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nimble_lightning.checkpoint.file_names import FOLDER_MANIFEST, manifest_path, parse_temporary
from nimble_lightning.checkpoint.hash_file import hash_plain
from nimble_lightning.checkpoint.manifest import Manifest
from nimble_lightning.errors import CheckpointError
from nimble_lightning.ops.plain_files import open_plain

_LARGEST_MANIFEST = 64 << 20
# What `torch.load(weights_only=True)` raises over bytes that it does not take.
NOT_LOADED = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def verify(path: str | os.PathLike[str], *, run_id: str | None = None) -> Manifest:
    """Check names, sizes, then digests; a CheckpointError says what does not hold.

    Args:
        path: A checkpoint, file or folder.
        run_id: If given, a checkpoint of another run is refused.
    """
    path = Path(os.path.abspath(path))
    if path.is_dir() and not path.is_symlink():
        return _checked(path, run_id, lambda manifest: _check_folder(path, manifest))
    with open_verified(path, run_id=run_id) as (_, manifest):
        return manifest


@contextmanager
def open_verified(path: Path, *, run_id: str | None = None) -> Iterator[tuple[BinaryIO, Manifest]]:
    """The open file of a whole checkpoint: what was hashed is what the caller reads."""
    try:
        file = open_plain(path)
    except FileNotFoundError:
        raise CheckpointError(f"There is no checkpoint {path}; check the path.") from None
    except OSError as error:
        text = f"Checkpoint {path} is not a plain file ({error.strerror}); give the file itself, not a link."
        raise CheckpointError(text) from None
    with file:
        manifest = _checked(path, run_id, lambda manifest: _check_open_file(file.fileno(), manifest))
        yield file, manifest


def read_manifest(path: Path) -> Manifest:
    """Parse the manifest file ``path``; a CheckpointError says what is wrong with it."""
    try:
        with open_plain(path) as file:
            data = file.read(_LARGEST_MANIFEST)
    except OSError as error:
        raise CheckpointError(f"its manifest cannot be read ({error.strerror})") from None
    return Manifest.parse(data)


def manifests_of(path: Path) -> list[Path]:
    """The manifest of a checkpoint, then those that a crash kept from getting their final name."""
    final = manifest_path(path)
    waiting = []
    for name in sorted(os.listdir(final.parent)):
        temporary = parse_temporary(name)
        if temporary is not None and temporary[0] == final.name:
            waiting.append(final.with_name(name))
    return [*([final] if os.path.lexists(final) else []), *waiting]


def _checked(path: Path, run_id: str | None, check: Callable[[Manifest], None]) -> Manifest:
    """The first manifest of ``path`` that holds; else the first reason why none does."""
    reasons = []
    for place in manifests_of(path):
        try:
            manifest = read_manifest(place)
            _check_identity(manifest, path, run_id)
            check(manifest)
        except (CheckpointError, OSError) as error:
            reasons.append(str(error))
        else:
            return manifest
    reason = reasons[0] if reasons else "it has no manifest, so it was not committed by nimble_lightning"
    raise CheckpointError(f"Checkpoint {path} is refused: {reason}. Take an earlier one, or `resume=never`.")


def _check_identity(manifest: Manifest, path: Path, run_id: str | None) -> None:
    if manifest.name != path.name:
        raise CheckpointError(f"its manifest is that of {manifest.name!r}")
    if run_id is not None and manifest.run_id != run_id:
        raise CheckpointError(f"it belongs to run {manifest.run_id!r}, expected {run_id!r}")


def _check_open_file(fd: int, manifest: Manifest) -> None:
    if set(manifest.files) != {manifest.name}:
        raise CheckpointError("it is one file, but its manifest is that of a folder")
    _check_size(fd, manifest, manifest.name)
    _check_digest(fd, manifest, manifest.name)


def _check_folder(path: Path, manifest: Manifest) -> None:
    present = set(files_in(path))
    if present != set(manifest.files):
        odd = ", ".join(sorted(present ^ set(manifest.files))[:3])
        raise CheckpointError(f"files are missing or were added: {odd}")
    for check in (_check_size, _check_digest):
        for name in manifest.files:
            with open_plain(path / name) as file:
                check(file.fileno(), manifest, name)


def _check_size(fd: int, manifest: Manifest, name: str) -> None:
    size = os.fstat(fd).st_size
    if not stat.S_ISREG(os.fstat(fd).st_mode) or size != manifest.files[name].size:
        raise CheckpointError(f"{name} has {size} bytes, its manifest says {manifest.files[name].size}")


def _check_digest(fd: int, manifest: Manifest, name: str) -> None:
    if hash_plain(fd) != manifest.files[name].sha256:
        raise CheckpointError(f"the content of {name} was altered: its sha256 is not the one in the manifest")


def files_in(folder: Path) -> list[str]:
    """The files of a sharded checkpoint, as its manifest names them; anything but plain files is refused."""
    found = []
    for parent, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            entry = Path(parent, name)
            mode = entry.lstat().st_mode
            relative = entry.relative_to(folder).as_posix()
            if stat.S_ISREG(mode):
                found.append(relative)
            elif not stat.S_ISDIR(mode):
                raise CheckpointError(f"{relative} is neither a file nor a folder")
    return sorted(name for name in found if not _is_ours(name))


def _is_ours(relative: str) -> bool:
    temporary = parse_temporary(relative)
    return FOLDER_MANIFEST in (relative, temporary and temporary[0])


def not_loaded(path: str | os.PathLike[str], error: BaseException) -> CheckpointError:
    """What to raise of a checkpoint that torch does not load."""
    # Torch begins with advice to load it all the same; what is wrong with it comes last.
    told = str(error).partition("\n\nCheck the documentation")[0].rpartition("WeightsUnpickler error:")[2]
    reason = told.strip().rpartition("\n\n")[2].partition("\n")[0].partition(" Please use")[0]
    return CheckpointError(
        f"Checkpoint {path} does not load with weights_only=True: {reason or type(error).__name__}"
    )
