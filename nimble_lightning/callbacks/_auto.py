"""Callbacks that a Lightning project gets without a line of it being edited: those NIMBLE_AUTO names."""

from __future__ import annotations

import os
import re
import sys
from difflib import get_close_matches

from lightning.pytorch.callbacks import Callback

import nimble_lightning.callbacks as ours
from nimble_lightning.ops.signals import asked

VARIABLE = "NIMBLE_AUTO"


def from_environment() -> list[Callback]:
    """One of each, with its defaults; Lightning asks for them whenever a Trainer is made.

    A run of ours has its callbacks from its configuration and gets none here.

    Example::

        NIMBLE_AUTO=gpu_info,usage_report python their_train.py
    """
    wanted = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    if asked.supervised:
        return []
    known = {_snake(name): name for name in ours.__all__}
    for name in wanted:
        if name not in known:
            near = get_close_matches(name.lower(), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            # Whose script this is does not matter here; a traceback through it would only hide the line.
            print(f"error: {VARIABLE} names {name}; {hint}", file=sys.stderr, flush=True)
            raise SystemExit(2)
    return [getattr(ours, known[name])() for name in wanted]


def _snake(name: str) -> str:
    """`gpu_info` of `GPUInfo`, as its file is called."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
