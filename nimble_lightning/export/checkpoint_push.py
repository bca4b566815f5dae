"""Pushes during a run: the weights of a committed checkpoint as a model, or the checkpoint itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nimble_lightning.checkpoint import verify
from nimble_lightning.checkpoint.file_names import manifest_path
from nimble_lightning.checkpoint.full_weights import weights_of
from nimble_lightning.checkpoint.resolver import candidates
from nimble_lightning.export import safetensors
from nimble_lightning.export.exportable_models import ExportedModel
from nimble_lightning.export.hub_upload import push
from nimble_lightning.run_folder import JOB

_WAITING = "waiting-"


@dataclass(frozen=True)
class PushTarget:
    """A repository, and a folder for what waits to be pushed to it.

    Attributes:
        repo: `owner/name`.
        private: Whether it is private if it has to be made; None leaves it to the account.
        staged: Removed when all is done. On the disk of the checkpoints, so that they can be linked.
    """

    repo: str
    private: bool | None
    staged: Path

    def keep(self, path: Path, *, until_pushed: bool = False) -> Path:
        """Give a checkpoint a second name: the run may delete it before it is pushed.

        With `until_pushed` it has that name until it is dropped, also after a kill.
        """
        self.staged.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = Path(tempfile.mkdtemp(dir=self.staged, prefix=_WAITING if until_pushed else None)) / path.name
        try:
            if path.is_dir():
                shutil.copytree(path, kept, copy_function=_link)
            else:
                _link(path, kept)
                # Last, as when it was committed: without it, it is none.
                _link(manifest_path(path), manifest_path(kept))
        except OSError:
            self.drop(kept)
            raise
        return kept

    def drop(self, kept: Path | None) -> None:
        if kept is not None:
            shutil.rmtree(kept.parent, ignore_errors=True)

    def waiting(self) -> list[Path]:
        """What is kept until it is pushed, oldest first."""
        folders = self.staged.glob(f"{_WAITING}*") if self.staged.is_dir() else ()
        found: dict[Path, int] = {}
        for path in (path for folder in folders for path in candidates(folder)):
            # One that has been pushed meanwhile is gone.
            with contextlib.suppress(FileNotFoundError):
                found[path] = manifest_path(path).stat().st_mtime_ns
        return sorted(found, key=lambda path: found[path])

    def clear(self) -> None:
        """Remove all but what is kept until it is pushed."""
        needed = {path.parent for path in self.waiting()}
        for entry in self.staged.iterdir() if self.staged.is_dir() else ():
            if entry not in needed:
                shutil.rmtree(entry, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.staged.rmdir()

    def push_weights(self, models: Sequence[ExportedModel], kept: Path | None) -> str:
        """Push models with the weights of a checkpoint, which is verified first; without one, as they are.

        The model in memory only lends its configuration: it goes on training.
        """
        state = None if kept is None else weights_of(kept)
        self.staged.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.staged) as name:
            for model in models:
                folder = Path(name) if len(models) == 1 else Path(name, model.name)
                folder.mkdir(exist_ok=True)
                own = model.module.state_dict() if state is None else part_of(state, model)
                safetensors.save(model, folder, own)
                safetensors.require_same(model, folder, own)
            message = "The trained model" if kept is None else f"The model of {kept.name}"
            return push(Path(name), self.repo, message=message, private=self.private)

    def push_checkpoint(self, kept: Path, under: str, *, alone: bool) -> str:
        """Push a checkpoint and its manifest, verified first; alone in its folder, if `alone`."""
        verify(kept)
        return push(
            kept.parent,
            self.repo,
            message=f"Checkpoint {kept.name}",
            under=under,
            replace=alone,
            private=self.private,
        )

    def command(self, path: Path | None, folder: Path) -> str:
        """What does the same by hand, later."""
        if path is not None and path.parent.parent == self.staged:
            return f"hf upload {self.repo} {path.parent} checkpoints"
        run = folder.parent
        if (run / JOB).exists() and (path is None or path.parent.name == "best"):
            return f"nimble-cli export {run} --to hub --repo {self.repo}"
        return f"hf upload {self.repo} {path or folder}"


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a disk without hard links
        shutil.copyfile(source, target)


def part_of(state: Mapping[str, Tensor], model: ExportedModel) -> dict[str, Tensor]:
    """The entries of one model in the state of all."""
    names = model.module.state_dict().keys()
    prefix = "" if names <= state.keys() else f"{model.name}."
    return {name: state[prefix + name] for name in names}
