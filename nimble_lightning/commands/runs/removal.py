"""`nimble-cli rm RUN...`: remove runs, with what they hold, and say how much room that made."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from nimble_lightning.commands.argument_parser import Parser
from nimble_lightning.commands.runs.tables import one_run
from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.ops.untrusted_text import printable
from nimble_lightning.report import quantities
from nimble_lightning.report.run_list import ListedRun
from nimble_lightning.report.sweep_members import SweepFolder
from nimble_lightning.run_folder import LOCK, SWEEP
from nimble_lightning.runs.lock import RunLock, holder


def remove(words: list[str]) -> int:
    """Ask, and remove the runs."""
    parser = Parser("rm", "Remove runs: checkpoints, logs, page, all that is in their folders.")
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="their folders")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--best", action="store_true", help="also the best member of a sweep")
    asked = parser.read(words)
    found = {run.folder: run for run in map(one_run, asked.runs)}.values()
    for run in found:
        _require_removable(run, asked.best)
    sizes = {run.folder: _bytes_in(run.folder) for run in found}
    for run in found:
        print(printable(f"{run.name}  {run.facts.status}  {quantities.size(sizes[run.folder])}"))
    if not asked.yes and not _agreed(len(sizes), sum(sizes.values())):
        print("nothing was removed")
        return 1
    for run in found:
        _remove(run.folder)
    print(f"removed {len(sizes)}, {quantities.size(sum(sizes.values()))} are free")
    return 0


def _require_removable(run: ListedRun, best: bool) -> None:
    if run.source.folder.is_symlink() or Path(run.name).is_symlink():
        raise RequestError(f"{run.name} is a link; give the folder it leads to")
    if (held := holder(run.folder / LOCK)) is not None:
        raise RequestError(
            f"{run.name} is going on (process {held.pid} on {held.host}).\n"
            f"Stop it first: nimble-cli stop {run.name}"
        )
    if not best and run.folder == _best_member(run.folder.parent):
        raise RequestError(f"{run.name} is the best member of its sweep; to remove it as well, add --best")


def _best_member(folder: Path) -> Path | None:
    """The best run of a sweep; None where it is none, or nothing is known to be best."""
    if not (folder / SWEEP).exists():
        return None
    sweep = SweepFolder(folder)
    best = next((each for each in sweep.ranked() if sweep.rank(each) is not None), None)
    return folder / best.folder if best is not None else None


def _agreed(count: int, size: int) -> bool:
    if not sys.stdin.isatty():
        raise RequestError("There is nobody to ask. To remove without being asked, add --yes")
    runs = "this run" if count == 1 else f"these {count} runs"
    return input(f"Remove {runs} ({quantities.size(size)})? [y/N] ").strip().lower() in ("y", "yes")


def _remove(folder: Path) -> None:
    # Nobody is to start it meanwhile.
    with RunLock(folder / LOCK, anywhere=True):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise NimbleError(f"{folder} could not be removed whole: {error.strerror}") from None


def _bytes_in(folder: Path) -> int:
    """What is in a folder; links are not followed, and a file of two names counts once."""
    seen: dict[tuple[int, int], int] = {}
    for place, _, names in os.walk(folder):
        for status in _statuses(Path(place, name) for name in names):
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def _statuses(paths: Iterable[Path]) -> Iterable[os.stat_result]:
    for path in paths:
        try:
            yield path.lstat()
        except FileNotFoundError:
            continue
