"""Callbacks that a Lightning project gets without a line of it being edited: those NIMBLE_AUTO names."""

from __future__ import annotations

import os
import re
import sys
from difflib import get_close_matches

import lightning as L
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

import nimble_lightning.callbacks as ours
from nimble_lightning.ops.lightning_packages import either, serves_both
from nimble_lightning.ops.signals import asked

VARIABLE = "NIMBLE_AUTO"


def from_environment() -> list[Callback]:
    """One callback that brings the others; Lightning asks for it whenever a Trainer is made.

    A run of ours has its callbacks from its configuration and gets none here.

    Example::

        NIMBLE_AUTO=gpu_info,usage_report python their_train.py
    """
    wanted = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    if asked.supervised or not wanted:
        return []
    known = {_snake(name): name for name in ours.__all__}
    for name in wanted:
        if name not in known:
            near = get_close_matches(name.lower(), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            # Whose script this is does not matter here; a traceback through it would only hide the line.
            print(f"error: {VARIABLE} names {name}; {hint}", file=sys.stderr, flush=True)
            raise SystemExit(2)
    return [FromEnvironment([known[name] for name in wanted])]


@serves_both
class FromEnvironment(Callback):
    """Brings the callbacks that were named, each Trainer its own, where the project has none of the kind.

    They come with `setup`: Lightning puts what it is given into the project's own list, from which the next
    Trainer may be made, and by then it is known which progress bar there is.

    Args:
        names: Of classes of `nimble_lightning.callbacks`.
    """

    def __init__(self, names: list[str]) -> None:
        self._names = names

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        there = trainer.callbacks
        first = next(each for each in there if isinstance(each, FromEnvironment))
        if first is not self:
            return
        for name in reversed(self._names):
            kind = getattr(ours, name)
            if any(isinstance(each, kind) for each in there):
                continue
            if issubclass(kind, either("callbacks.ProgressBar")):
                _replace_bar(trainer, kind)
            elif issubclass(kind, either("callbacks.Checkpoint")):
                there.append(kind())
            else:
                # Lightning comes to them next, for it goes through this list.
                there.insert(there.index(self) + 1, kind())


def _replace_bar(trainer: L.Trainer, kind: type[Callback]) -> None:
    """Lightning's own bar; where it was switched off none is wanted, and a project's own stays."""
    defaults = either("callbacks.RichProgressBar") + either("callbacks.TQDMProgressBar")
    for number, each in enumerate(trainer.callbacks):
        if type(each) in defaults:
            trainer.callbacks[number] = bar = kind()
            bar.setup(trainer, trainer.lightning_module, "fit")


def _snake(name: str) -> str:
    """`gpu_info` of `GPUInfo`, as its file is called."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
