"""Where a reporting callback leaves its files, and how it says that something happened."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import lightning as L

from nimble_lightning.notifications import events
from nimble_lightning.notifications.events import EventKind
from nimble_lightning.ops.process_environment import RUN
from nimble_lightning.run_folder import JOB

log = logging.getLogger(__name__)

# Asked for once in `setup`, so that no rank waits for another when something happens to it alone.
_places: WeakKeyDictionary[L.Trainer, Path] = WeakKeyDictionary()


def place(trainer: L.Trainer) -> Path:
    """The folder of the run; in a project of its own, beside what its logger writes.

    To be asked on every rank, in `setup`: Lightning's ranks agree on the folder of the logger.
    """
    if is_remote(trainer.default_root_dir):
        return _local_place(trainer)
    root = Path(trainer.default_root_dir).absolute()
    if _is_run_folder(root):
        found = root
    elif RUN in os.environ:
        # Every start of a retried script is a new version to its logger, but one run to us.
        found = root / "nimble" / os.environ[RUN]
    else:
        # A working directory that nobody chose gets no more than a folder.
        chosen = root / "nimble" if root == Path.cwd() else root
        found = Path(trainer.log_dir or chosen).absolute()
    _places[trainer] = found
    return found


def _local_place(trainer: L.Trainer) -> Path:
    """Where the Trainer's folder is elsewhere: files that grow with each step need one of this machine."""
    if trainer not in _places:
        _places[trainer] = Path(tempfile.mkdtemp(prefix="nimble-"))
        log.warning(
            "default_root_dir=%s is no folder of this machine: what callbacks write is in %s",
            trainer.default_root_dir,
            _places[trainer],
        )
    return _places[trainer]


def is_remote(folder: object) -> bool:
    """Whether it is no folder of this machine, as `s3://bucket` is none."""
    return "://" in str(folder)


def in_run_folder(trainer: L.Trainer) -> bool:
    """Whether this is a run of ours, whose beginning and end are told by whoever runs it."""
    return _is_run_folder(Path(trainer.default_root_dir).absolute())


def tell(trainer: L.Trainer, kind: EventKind, **facts: Any) -> None:
    """Add an event to the outbox, from the first rank alone; a disk that is full does not matter to the run.

    In a project where no callback has asked for a place nobody reads an outbox, and nothing is written.
    """
    if not trainer.is_global_zero or trainer.fast_dev_run:
        return
    root = Path(str(trainer.default_root_dir)).absolute()
    folder = root if _is_run_folder(root) else _places.get(trainer)
    if folder is not None:
        with contextlib.suppress(OSError):
            events.append(folder, kind, step=trainer.global_step, epoch=trainer.current_epoch, **facts)


def _is_run_folder(folder: Path) -> bool:
    return (folder / JOB).exists()
