"""What a run takes: hours, energy, money, emissions; over all its attempts and ranks, to the last kill."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from typing_extensions import override

from nimble_lightning.callbacks._budget import Spending
from nimble_lightning.callbacks._fit_length import batches_of_fit
from nimble_lightning.callbacks._guard import guarded
from nimble_lightning.callbacks._output_folder import place
from nimble_lightning.callbacks._usage_recorder import RecordPlace, TrainerUsage, new_clock
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.lightning_packages import serves_both
from nimble_lightning.ops.signals import asked
from nimble_lightning.usage import webhook
from nimble_lightning.usage.account_table import progress, table
from nimble_lightning.usage.carbon import grid_of
from nimble_lightning.usage.clock import AWAY, CHECKPOINT, DATA, OTHER, START, STEP, VALIDATION, Clock
from nimble_lightning.usage.figures import value_of
from nimble_lightning.usage.prices import Budget, Prices, UsageTerms, made
from nimble_lightning.usage.work_counters import WorkCounters

log = logging.getLogger(__name__)

_BETWEEN_LINES_SECONDS = 30.0


@guarded
@serves_both
class UsageReport(L.Callback):
    """Keeps `usage.json` beside what the run writes, true to a few seconds however the run ends.

    Each process notes what it uses in `usage/attempt-K.rank-R.json`; the account puts all of them together.
    Every figure says whether it was measured, estimated or assumed. Nothing is sent anywhere unless
    `report_to` names an address.

    Times are those of the host. A GPU works behind its host, so a single step's time is not its own, but
    over many steps the sums are right, since the host waits for the device sooner or later.

    Args:
        prices: What is paid, as `{gpu_hour: 2.5, kwh: 0.3, currency: EUR}`; any may be left out. An hour of a
            device costs `gpu_hour` even where the device is no GPU.
        grid: Where electricity comes from: grams of CO2e for a kilowatt-hour, or a country such as DE.
        pue: What the building takes for each kilowatt-hour of its computers.
        peak_flops: What one device can do in a second, for the MFU; by default from a table with sources.
        measure_flops: Count the operations of the first batch while it is trained.
        budget: What the run may take over all its attempts, as `{max_cost: 50, max_kwh: 20, max_time: 12h}`;
            then it commits and ends.
        report_to: An address that gets `usage.json` by POST at the end.

    Example::

        L.Trainer(callbacks=[UsageReport(prices={"gpu_hour": 2.5, "currency": "EUR"}, grid="FR")])
    """

    def __init__(
        self,
        prices: Prices | Mapping[str, Any] | None = None,
        grid: float | str | None = None,
        pue: float = 1.0,
        peak_flops: float | None = None,
        measure_flops: bool = True,
        budget: Budget | Mapping[str, Any] | None = None,
        report_to: str | None = None,
    ) -> None:
        grid_of(grid)
        self.terms = UsageTerms(made(Prices, prices, "prices"), grid, pue, peak_flops)
        self.budget = made(Budget, budget, "budget")
        if self.budget.max_cost is not None and not self.terms.prices.known:
            raise RequestError("budget.max_cost needs prices: give prices.gpu_hour, prices.kwh or both.")
        if report_to is not None:
            webhook.check(report_to)
        self.measure_flops = measure_flops
        self.report_to = report_to
        self._clock = Clock()
        self._work = WorkCounters(measure=False)
        self._account: TrainerUsage | None = None
        self._spending: Spending | None = None
        self._line_at = 0.0
        self._logged: dict[str, Any] | None = None

    # --- one call of the Trainer -------------------------------------------------------------------

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if trainer.fast_dev_run:
            return
        folder = place(trainer)
        if self._account is None or not self._account.are_of(trainer, folder):
            self._open(trainer, folder)
        elif self._clock.state == AWAY:
            self._clock.switch(OTHER)
        self._time_saves(trainer)
        if self._account is not None:
            self._account.recorder.start()

    @override
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._end(trainer)
        if stage == "fit" and trainer.is_global_zero and self._account is not None and not self._recorded:
            usage = self._account.usage
            if usage is not None:
                print(table(usage), flush=True)
                self._report(usage)

    @override
    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._stop_counting()
        self._end(trainer)

    # --- a step ------------------------------------------------------------------------------------

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._line_at = time.monotonic() + _BETWEEN_LINES_SECONDS
        self._work.begin(pl_module, trainer.global_step, _batches_left(trainer))

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._clock.state != START:
            self._clock.switch(DATA)

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._clock.switch(STEP)
        if self._work.counter is not None:
            self._work.counter.begin()

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._work.counter is not None:
            self._stop_counting(batch)
        self._work.add(batch)
        self._clock.switch(DATA)
        if self._spending is not None:
            self._spending.after_batch()

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop_counting()
        self._clock.switch(OTHER)
        usage = None if self._account is None else self._account.usage
        if usage is None or usage is self._logged or not trainer.is_global_zero:
            return
        self._logged = usage
        if (now := time.monotonic()) >= self._line_at:
            self._line_at = now + _BETWEEN_LINES_SECONDS
            log.info("%s", progress(usage))
        if not trainer.barebones:
            _to_loggers(trainer, usage)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._clock.switch(OTHER)

    # --- beside the steps --------------------------------------------------------------------------

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._clock.switch(VALIDATION)

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._clock.switch(DATA if trainer.state.fn == "fit" else OTHER)

    @override
    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._clock.switch(VALIDATION)

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._clock.switch(OTHER)

    # --- how ---------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # A copy has an account of its own, when it comes to a run.
        return {**vars(self), "_account": None, "_spending": None}

    @property
    def _recorded(self) -> bool:
        """Whether somebody else writes the account when the run has ended."""
        return self._account is not None and self._account.place.recorded

    def _open(self, trainer: L.Trainer, folder: Path) -> None:
        if self._account is not None:
            self._account.recorder.stop()
        self._clock = new_clock()
        self._work = WorkCounters(self.measure_flops)
        self._account = TrainerUsage(
            trainer, RecordPlace.of(trainer, folder), self.terms, self._clock, self._work
        )
        if self.budget.given:
            self._spending = Spending(trainer, self.budget, self._account)

    def _time_saves(self, trainer: L.Trainer) -> None:
        """All saves go through this method of the Trainer's, and no hook tells when one ends."""
        if "save_checkpoint" not in vars(trainer):
            trainer.save_checkpoint = _TimedSave(trainer, self._clock)  # type: ignore[method-assign]

    def _stop_counting(self, batch: Any = None) -> None:
        if self._work.counter is not None:
            self._work.counter.end()
            self._work.counted(batch)

    def _end(self, trainer: L.Trainer) -> None:
        if isinstance(vars(trainer).get("save_checkpoint"), _TimedSave):
            del vars(trainer)["save_checkpoint"]
        if self._account is None or not self._account.recorder.running:
            return
        if asked.supervised:
            # What follows in this process, evaluation and export, is the run's as well.
            self._account.recorder.flush()
            return
        self._clock.switch(AWAY)
        self._account.recorder.stop()
        if trainer.is_global_zero:
            self._account.close()

    def _report(self, usage: Mapping[str, Any]) -> None:
        if self.report_to is not None and (why := webhook.post(self.report_to, usage)):
            log.warning("the usage was not reported (%s); nimble-cli usage . --send URL does it later", why)


class _TimedSave:
    """The Trainer's way to save, on the clock; a copy of the Trainer's is not."""

    def __init__(self, trainer: L.Trainer, clock: Clock) -> None:
        self._trainer = trainer
        self._clock = clock

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        before = self._clock.switch(CHECKPOINT)
        try:
            type(self._trainer).save_checkpoint(self._trainer, *args, **kwargs)
        finally:
            self._clock.switch(before)


def _batches_left(trainer: L.Trainer) -> int | None:
    left = batches_of_fit(trainer) - (trainer.fit_loop.total_batch_idx + 1)
    return max(0, int(left)) if math.isfinite(left) else None


def _to_loggers(trainer: L.Trainer, usage: Mapping[str, Any]) -> None:
    """Straight to the loggers: a metric of the model's is something others choose checkpoints by."""
    known = {
        "usage/kwh": value_of(usage["energy_kwh"]["total"]),
        "usage/cost": value_of(usage["cost"]["amount"]),
        "usage/mfu": value_of(usage["mfu"]),
    }
    metrics = {name: value for name, value in known.items() if value is not None}
    for logger in trainer.loggers if metrics else ():
        logger.log_metrics(metrics, step=trainer.global_step)
