"""The run folder: what is where, named once."""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from nimble_lightning.errors import RequestError
from nimble_lightning.ops import plain_files, secrets


class RunFolder:
    """Paths inside one run's folder. Nothing else in the package spells them out."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self.config = self.path / "config.yaml"
        self.job = self.path / "job.yaml"
        self.run = self.path / "run.json"
        self.finished = self.path / "finished.json"
        self.lock = self.path / "run.lock"
        self.member = self.path / "member.json"
        self.log = self.path / "log.txt"
        self.checkpoints = self.path / "checkpoints"
        self.steps = self.checkpoints / "steps"
        self.best = self.checkpoints / "best"
        self.stretches = self.checkpoints / "stretches"
        self.show = self.path / "show"
        self.exported = self.path / "best"
        self.provenance = self.path / "provenance.json"
        self.errors = self.path / "errors"
        self.save_now = self.path / "save_now"
        self.token = self.path / "nodes.token"
        self.batch = self.path / "slurm.sh"
        self.submitted = self.path / "slurm.json"
        self.left = self.path / "slurm.exit.json"
        self.said = self.path / "slurm.txt"

    def create(self) -> None:
        """Make the folder, readable by its owner only."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Hydra may have made it, as everybody's.
            make_private(self.path, within=False)
            for folder in (self.checkpoints, self.steps, self.errors):
                folder.mkdir(mode=0o700, exist_ok=True)
            write_text(self.path / ".writable", "")
            (self.path / ".writable").unlink()
        except OSError as error:
            raise RequestError(
                f"The run folder {self.path} cannot be written: {error.strerror}. Choose another with "
                "output_dir=FOLDER."
            ) from None

    def error_file(self, attempt: int, rank: int) -> Path:
        return self.errors / f"attempt-{attempt}.rank-{rank}.json"

    def stacks(self, attempt: int, rank: int) -> Path:
        return self.errors / f"attempt-{attempt}.rank-{rank}.stacks.txt"

    def heartbeat(self, attempt: int, rank: int) -> Path:
        return self.path / f".heartbeat-{attempt}.{rank}"

    def heartbeats(self, attempt: int | None = None) -> list[Path]:
        """Those of an attempt, or of all."""
        return list(self.path.glob(f".heartbeat-{'*' if attempt is None else attempt}.*"))

    def replica_log(self, rank: int) -> Path:
        return self.path / f"log.rank-{rank}.txt"

    def prepared(self, attempt: int, node: int) -> Path:
        return self.path / f".prepared-{attempt}.{node}"


def write_text(path: Path, text: str) -> None:
    """Replace a file's content so that readers see the old or the new, never a part."""
    plain_files.replace(path, text.encode())


def make_private(folder: Path, *, within: bool = True) -> None:
    """Leave a folder, and what libraries have written into it, to its owner alone. Links are not followed."""
    _close_to_others(folder)
    for place, folders, files in os.walk(folder) if within else ():
        for name in (*folders, *files):
            _close_to_others(Path(place, name))


def _close_to_others(path: Path) -> None:
    with suppress(FileNotFoundError):
        found = path.lstat()
        if not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o077 and found.st_uid == os.geteuid():
            path.chmod(stat.S_IMODE(found.st_mode) & 0o700)


def write_json(path: Path, value: Any) -> None:
    """Like `write_text`; what is secret in it is masked."""
    write_text(path, json.dumps(secrets.redacted(value), indent=2, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The file's content; empty where there is none or it is not whole."""
    content = plain_files.read_json(path.parent, path.name)
    return content if isinstance(content, dict) else {}
