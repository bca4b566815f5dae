"""An end when the budget is used up: at a step, on all ranks, with a checkpoint."""

from __future__ import annotations

import logging
import time
from typing import Any

import lightning as L

from nimble_lightning.callbacks._output_folder import tell
from nimble_lightning.callbacks._usage_recorder import TrainerUsage
from nimble_lightning.notifications.events import EventKind
from nimble_lightning.ops.signals import asked
from nimble_lightning.run_folder import CHECKPOINTS
from nimble_lightning.usage.figures import value_of
from nimble_lightning.usage.prices import Budget

log = logging.getLogger(__name__)

# Ranks ask the first one about as often as it looks at the account.
_SECONDS = 2.0


class Spending:
    """Looks at the account as it is written, and ends the run when there is too much in it.

    Where somebody looks at each step for a wish to stop (AutoRetry), that is told; elsewhere a checkpoint is
    saved here, and Lightning's loop is asked to stop.

    Args:
        trainer: Whose run it is.
        budget: What it may take.
        account: Where the account is kept.
    """

    def __init__(self, trainer: L.Trainer, budget: Budget, account: TrainerUsage) -> None:
        self._trainer = trainer
        self._budget = budget
        self._account = account
        self._over: str | None = None
        self._agreed: str | None = None
        self._stopped = False
        self._step: int | None = None
        self._batches, self._next, self._distance = 0, 0, 1
        self._asked_at = time.monotonic()
        account.watch, account.every = self._look, _SECONDS

    def after_batch(self) -> None:
        """To be called on every rank after each training batch."""
        self._batches += 1
        if self._stopped or asked.heard:
            return
        if self._trainer.world_size == 1:
            self._agreed = self._over
        elif self._batches >= self._next:
            self._agree()
        before, self._step = self._step, self._trainer.global_step
        if self._agreed and before is not None and self._step > before:
            # Gradients that are being accumulated are in no checkpoint.
            self._stop(self._agreed)

    def _look(self, usage: dict[str, Any]) -> None:
        """In the thread, on the first rank."""
        if not self._batches:
            # Nobody listens before the first step.
            return
        cost, kwh = usage["cost"]["amount"], usage["energy_kwh"]["total"]
        over = self._budget.used_up(value_of(cost), value_of(kwh), usage["wall_seconds"])
        if over and self._over is None:
            self._over = over
            log.warning("%s: the run commits and ends", over)
            tell(self._trainer, EventKind.BUDGET, reason=over)
        if over and asked.heard:
            asked.why, asked.stop = over, True

    def _agree(self) -> None:
        """What the first rank found, and after how many batches to ask again: about two seconds' worth."""
        now = time.monotonic()
        pace = (now - self._asked_at) / self._distance
        mine = (self._over, max(1, round(_SECONDS / max(pace, 1e-6))))
        self._agreed, self._distance = self._trainer.strategy.broadcast(mine)
        self._asked_at, self._next = now, self._batches + self._distance

    def _stop(self, reason: str) -> None:
        self._stopped = True
        trainer = self._trainer
        path = self._account.place.folder / CHECKPOINTS / f"budget-step={trainer.global_step}.ckpt"
        trainer.save_checkpoint(path, weights_only=False)
        if trainer.is_global_zero:
            log.warning("%s: saved as %s", reason, path)
        trainer.should_stop = True
