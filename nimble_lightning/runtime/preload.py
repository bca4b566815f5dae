"""What the fork server imports before the first worker: everything a run needs that is the same for each."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os

import nimble_lightning.callbacks as _callbacks
import nimble_lightning.runtime.training  # noqa: F401
import nimble_lightning.runtime.worker  # noqa: F401
from nimble_lightning.runtime.forkserver import PRELOAD_ALSO

for _name in [
    *(f"{_callbacks.__name__}.{m}" for m in ("auto_retry", "best_checkpoint", "exact_resume", "progress")),
    "hydra.utils",
]:
    importlib.import_module(_name)

for _name in os.environ.get(PRELOAD_ALSO, "").split():
    # A module of the user's that cannot be imported here says so in the worker, where it can be reported.
    with contextlib.suppress(Exception):
        importlib.import_module(_name)

# What is imported stays: no need for this process, or workers forked from it, to search it for garbage.
gc.collect()
gc.freeze()
