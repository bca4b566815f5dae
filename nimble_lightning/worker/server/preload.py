"""What the fork server imports before the first worker: everything a run needs that is the same for each."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
from multiprocessing import forkserver

from nimble_lightning.adapters.lightning_alias import alias_lightning
from nimble_lightning.worker.server.forkserver import PRELOAD_ALSO
from nimble_lightning.worker.server.lazy_torchmetrics import postpone


@atexit.register
def _clear_away() -> None:
    """The server ends by itself when all who used it are gone; were they killed, its socket is left."""
    address: str | None = forkserver._forkserver._forkserver_address  # type: ignore[attr-defined]
    if address:
        with contextlib.suppress(OSError):
            os.unlink(address)
            os.rmdir(os.path.dirname(address))


# Nothing that is imported becomes garbage, and looking for it is a sixth of the time all this takes.
gc.disable()
_also = os.environ.get(PRELOAD_ALSO, "").split()
postpone(_also)
for _name in (
    "nimble_lightning.worker.training",
    "nimble_lightning.worker.worker",
    "nimble_lightning.callbacks.auto_retry",
    "nimble_lightning.callbacks.best_checkpoint",
    "nimble_lightning.callbacks.exact_resume",
    "nimble_lightning.callbacks.progress",
    "nimble_lightning.loggers.jsonl",
    "hydra.utils",
):
    importlib.import_module(_name)

# Before a project's own imports.
alias_lightning()
for _name in _also:
    # A module of the user's that cannot be imported here says so in the worker, where it can be reported.
    with contextlib.suppress(Exception):
        importlib.import_module(_name)

# What is imported stays: no need for this process, or workers forked from it, to search it for garbage.
gc.freeze()
gc.enable()
