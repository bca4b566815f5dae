"""What one process, of whom and where, has used up to now: a file of its own, replaced every few seconds."""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from nimble_lightning.ops import plain_files
from nimble_lightning.run_folder import RANK_USAGE

SCHEMA = "nimble_lightning.usage_piece/1"


@dataclass
class RankRecord:
    """The running totals of one process.

    Attributes:
        attempt: Which start of the run it belongs to, from 1.
        run: Which run, where several may share a folder.
        sharing: How many processes work on the same samples, each on a part of every layer.
        started: Since when it counts, in seconds since the epoch; `updated`: until when.
        seconds: By state; `state` is the last one and had lasted `lasting` seconds.
        first_step: Optimizer steps the run had done when this process began; `last_step`: at the last update.
        done: Batches of this fit, out of `total` where that is known; what is left is told from them.
        tokens: None where batches hold none; `tokens_kind` and `tokens_note` say how they were counted.
        flops: Operations of training; None where unknown, and `flops_note` says why.
        peak_flops: What the device could do in a second at this precision.
        joules: By part (gpu, cpu, ram); None where unknown. `sources` says how each was found.
    """

    attempt: int = 1
    rank: int = 0
    world_size: int = 1
    sharing: int = 1
    run: str = ""
    host: str = ""
    user: str = ""
    pid: int = 0
    started: float = 0.0
    updated: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    state: str = "start"
    lasting: float = 0.0
    first_step: int = 0
    last_step: int = 0
    done: int = 0
    total: int | None = None
    samples: int = 0
    tokens: float | None = None
    tokens_kind: str = "measured"
    tokens_note: str = ""
    flops: float | None = None
    flops_note: str = ""
    peak_flops: float | None = None
    peak_note: str = ""
    device: str = "cpu"
    precision: str = ""
    peak_memory: int | None = None
    joules: dict[str, float | None] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return max(0, self.last_step - self.first_step)

    @property
    def length(self) -> float:
        """The seconds it accounts for."""
        return sum(value for state, value in self.seconds.items() if state != "away")


def path_of(folder: Path, attempt: int, rank: int) -> Path:
    """Where one rank's record of an attempt is kept."""
    return folder / RANK_USAGE / f"attempt-{attempt}.rank-{rank}.json"


def write(folder: Path, piece: RankRecord) -> None:
    """Replace the file of this process.

    Raises:
        OSError: It could not be written; what was there is still there.
    """
    path = path_of(folder, piece.attempt, piece.rank)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What a power cut takes is written again in a few seconds.
    plain_files.replace(path, json.dumps({"schema": SCHEMA, **asdict(piece)}).encode(), flush=False)


def pieces(folder: Path, run: str | None = None) -> list[RankRecord]:
    """All pieces of a folder, or of one run in it, by attempt and rank; what is not whole is passed over."""
    read = (_read(path) for path in (folder / RANK_USAGE).glob("attempt-*.rank-*.json"))
    found = [piece for piece in read if piece is not None and run in (None, piece.run)]
    return sorted(found, key=lambda piece: (piece.attempt, piece.rank))


def attempts(found: Iterable[RankRecord]) -> dict[int, list[RankRecord]]:
    """Pieces by the number of their attempt."""
    grouped: dict[int, list[RankRecord]] = {}
    for piece in found:
        grouped.setdefault(piece.attempt, []).append(piece)
    return grouped


def _read(path: Path) -> RankRecord | None:
    known = {f.name for f in fields(RankRecord)}
    try:
        content = plain_files.read_json(path.parent, path.name)
        return RankRecord(**{name: value for name, value in content.items() if name in known})
    except (TypeError, AttributeError):
        return None


def this_process(piece: RankRecord) -> RankRecord:
    """The piece with the names of this process in it."""
    piece.pid, piece.host, piece.user = os.getpid(), socket.gethostname(), _user()
    return piece


def _user() -> str:
    """The name of the user who runs this process, or the number where there is no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container's user need not have a name.
        return str(os.getuid())
