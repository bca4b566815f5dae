"""The run folder: the name of each file and folder in it, once. Everything else takes them from here."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from nimble_lightning.errors import RequestError

CONFIG = "config.yaml"
# What was asked of the run: the folder that has one is a run's.
JOB = "job.yaml"
RECORD = "run.json"
FINISHED = "finished.json"
LOCK = "run.lock"
MEMBER = "member.json"
LOG = "log.txt"
METRICS_JSONL = "metrics.jsonl"
METRICS_CSV = "metrics.csv"
GPU_SAMPLES = "gpu.jsonl"
USAGE = "usage.json"
# What each rank has used, of which the account is the sum.
RANK_USAGE = "usage"
EMISSIONS = "emissions.csv"
PROVENANCE = "provenance.json"
PAGE = "report.html"
STATEMENT = "statement.json"
BUNDLE = "statement.oms.json"
EXPORTED = "best"
SHOW = "show"
SHOW_INDEX = f"{SHOW}/index.json"
ERRORS = "errors"
OUTBOX = "outbox"
EVENTS = f"{OUTBOX}/events.jsonl"
DELIVERED = f"{OUTBOX}/delivered.jsonl"
# Touched by people who want a checkpoint now.
SAVE_NOW = "save_now"
TOKEN = "nodes.token"
CHECKPOINTS = "checkpoints"
STEPS = f"{CHECKPOINTS}/steps"
BEST = f"{CHECKPOINTS}/best"
STRETCHES = f"{CHECKPOINTS}/stretches"
# Checkpoints that wait to be pushed to the Hub.
STAGED = ".hub"
# Of a sweep's own folder, in which those of its members lie.
SWEEP = "sweep.json"
SWEEP_LOCK = "sweep.lock"


class RunFolder:
    """Paths inside one run's folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self.config = self.path / CONFIG
        self.job = self.path / JOB
        self.run = self.path / RECORD
        self.finished = self.path / FINISHED
        self.lock = self.path / LOCK
        self.member = self.path / MEMBER
        self.log = self.path / LOG
        self.usage = self.path / USAGE
        self.checkpoints = self.path / CHECKPOINTS
        self.steps = self.path / STEPS
        self.best = self.path / BEST
        self.stretches = self.path / STRETCHES
        self.show = self.path / SHOW
        self.show_index = self.path / SHOW_INDEX
        self.exported = self.path / EXPORTED
        self.provenance = self.path / PROVENANCE
        self.statement = self.path / STATEMENT
        self.bundle = self.path / BUNDLE
        self.errors = self.path / ERRORS
        self.save_now = self.path / SAVE_NOW
        self.token = self.path / TOKEN
        self.batch = self.path / "slurm.sh"
        self.submitted = self.path / "slurm.json"
        self.left = self.path / "slurm.exit.json"
        self.said = self.path / "slurm.txt"

    def create(self) -> None:
        """Make the folder, readable by its owner only."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Hydra may have made it, as everybody's.
            close_to_others(self.path)
            for folder in (self.checkpoints, self.steps, self.errors):
                folder.mkdir(mode=0o700, exist_ok=True)
            with TemporaryFile(dir=self.path):
                pass
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
        return self.path / of_rank(LOG, rank)

    def prepared(self, attempt: int, node: int) -> Path:
        return self.path / f".prepared-{attempt}.{node}"


def of_rank(name: str, rank: int) -> str:
    """The file a rank writes in place of the first one's: `log.rank-3.txt` for `log.txt`."""
    stem, kind = name.split(".")
    return name if rank == 0 else f"{stem}.rank-{rank}.{kind}"


def make_private(folder: Path) -> None:
    """Leave a folder, and what libraries have written into it, to its owner alone. Links are not followed."""
    close_to_others(folder)
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            close_to_others(Path(place, name))


def close_to_others(path: Path) -> None:
    """Take from everybody but the owner what they may do with a file or folder."""
    with suppress(FileNotFoundError):
        found = path.lstat()
        if not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o077 and found.st_uid == os.geteuid():
            path.chmod(stat.S_IMODE(found.st_mode) & 0o700)


def seen_from_here(path: Path) -> Path:
    """A path as it is printed: relative to the working directory where it lies inside."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
