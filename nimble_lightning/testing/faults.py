"""The callback that carries out a plan of faults in a run."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor
from typing_extensions import override

from nimble_lightning.checkpoint import fault_points
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.testing.fault_plan import DISK, IN_STEP, Fault, Occasion, exception, parse

PLAN = "NIMBLE_FAULTS"
ATTEMPT = "NIMBLE_ATTEMPT"

log = logging.getLogger(__name__)


_SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}


class Faults(L.Callback):
    """Makes things go wrong on purpose, so that you see beforehand what your run does about them.

    Args:
        plan: What, when and where, such as `"kill@step=7,attempt=1; nan@step=9"` (see `Fault`); by default
            what the environment variable `NIMBLE_FAULTS` says.
        seed: Of faults that happen with a probability.

    Which start of the run this is, is read from the run folder, or from the variable `NIMBLE_ATTEMPT`.

    Example::

        L.Trainer(callbacks=[AutoRetry(), Faults("raise@step=20,attempt=1; enospc@save=half,step=30")])
    """

    def __init__(self, plan: str | Iterable[str] | None = None, seed: int = 0) -> None:
        plan = os.environ.get(PLAN, "") if plan is None else plan
        self.plan = parse(plan if isinstance(plan, str) else ";".join(plan))
        self.seed = seed
        self._left = {fault: fault.times for fault in self.plan}
        self._attempt = 1
        self._hooked = False
        self._before: fault_points.Hook | None = None

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._attempt = attempt_of(trainer.default_root_dir)
        if any(fault.save for fault in self.plan) and not self._hooked:
            self._before = fault_points.set_hook(lambda stage: self._in_save(trainer, stage))
            self._hooked = True
        if self.plan and trainer.is_global_zero:
            log.warning("rehearsing faults: %s", "; ".join(map(str, self.plan)))

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        for fault in self._due(trainer):
            if fault.kind not in IN_STEP:
                self.strike(fault, trainer)

    @override
    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        for fault in self._due(trainer):
            if fault.kind == "nan":
                self._left[fault] -= 1
                spoil(loss)
            elif fault.kind == "oom":
                self.strike(fault, trainer)

    @override
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self._hooked:
            fault_points.set_hook(self._before)
            self._hooked, self._before = False, None

    def _in_save(self, trainer: L.Trainer, stage: str) -> None:
        if self._before is not None:
            self._before(stage)
        for fault in self._due(trainer, stage):
            self.strike(fault, trainer, f" while saving ({stage})")

    def _due(self, trainer: L.Trainer, stage: str | None = None) -> list[Fault]:
        now = Occasion(self._attempt, trainer.global_rank, trainer.global_step, stage)
        return [fault for fault, left in self._left.items() if left and fault.strikes(now, self.seed)]

    def strike(self, fault: Fault, trainer: L.Trainer, place: str = "") -> None:
        self._left[fault] -= 1
        strike(fault, f"at step {trainer.global_step}{place}")


def attempt_of(folder: str | Path) -> int:
    """Which start of the run in this folder is going on; 1 where nobody counts."""
    if (told := os.environ.get(ATTEMPT, "")).isdigit():
        return int(told)
    return max(1, len(read_json(RunFolder(folder).run).get("attempts", [])))


def spoil(loss: Tensor) -> None:
    """Make a loss and all gradients that come of it not-a-number."""
    loss.register_hook(lambda gradient: gradient * float("nan"))
    # Past autograd's version counter, which would refuse the backward pass.
    loss.data.fill_(float("nan"))


def strike(fault: Fault, where: str) -> None:
    """Carry out a fault. Returns only from `term`, and from `stop` once somebody continues the process.

    Args:
        fault: Anything but `nan`, which needs a loss to spoil.
        where: Ends up in the text of exceptions.
    """
    if fault.kind in _SIGNALS:
        os.kill(os.getpid(), _SIGNALS[fault.kind])
    elif fault.kind == "hang":
        _deadlock()
    elif fault.kind == "spin":
        spin()
    else:
        raise error_of(fault, where)


def error_of(fault: Fault, where: str) -> Exception:
    """The exception a fault raises, in the words of whoever would raise it in earnest."""
    if fault.kind in DISK:
        number = getattr(errno, fault.kind.upper())
        return OSError(number, os.strerror(number))
    if fault.kind == "oom":
        import torch

        return torch.OutOfMemoryError(f"CUDA out of memory. Rehearsed {where}.")
    kind = exception(fault.error) or RuntimeError
    return kind(f"rehearsed {where}")


def _deadlock() -> None:
    """Wait for a lock that nobody will release. Python's signal handlers still run."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def spin() -> None:
    """Count nothing for ever, inside C and holding the interpreter: no other thread, no handler runs."""
    sum(itertools.repeat(0))
