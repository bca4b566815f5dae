"""Where a run is and when it ends: a live line in a terminal, plain lines everywhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.trainer.states import TrainerFn
from rich.console import Console
from torch import Tensor
from typing_extensions import override

from nimble_lightning.callbacks._guard import guarded
from nimble_lightning.ops.batches import real_tokens, size_of
from nimble_lightning.ops.lightning_packages import either, serves_both
from nimble_lightning.ranks import share_of_data
from nimble_lightning.terminal.progress_display import Display, display
from nimble_lightning.terminal.progress_line import ProgressPosition, Rate

_METRICS_SHOWN = 4
_NEVER = float("inf")


@guarded
@serves_both
class Progress(ProgressBar):
    """Shows epoch, step, metrics, speed and time left, and takes the place of Lightning's own progress bar.

    In a terminal it is one live line, redrawn `per_second` times a second. Elsewhere (a log file, a
    cluster job) it is plain lines: the first after five seconds, then at intervals growing to
    `longest_wait`, and at the end of an epoch, but never two within a second. A step in which nothing is
    shown costs one look at the clock. Only the main process shows anything.

    Args:
        per_second: How often the live line is redrawn.
        longest_wait: The most seconds between two plain lines.
        console: Where to show it; standard error unless given.

    Raises:
        ValueError: A number is not positive.

    Example::

        L.Trainer(callbacks=[Progress()])
    """

    def __init__(
        self, per_second: float = 4.0, longest_wait: float = 60.0, console: Console | None = None
    ) -> None:
        super().__init__()
        if per_second <= 0 or longest_wait <= 0:
            raise ValueError(f"Progress needs positive numbers, got {per_second=}, {longest_wait=}")
        self._per_second = per_second
        self._longest_wait = longest_wait
        self._console = console
        self._enabled = True
        self._display: Display | None = None
        self._next = _NEVER
        self._rate = Rate()
        self._samples_per_step: int | None = None
        # In all batches that were looked at, and how many these are.
        self._tokens, self._looks = 0, 0

    @property
    def is_enabled(self) -> bool:
        # LightningModule.print asks for it, though ProgressBar does not name it.
        return self._enabled

    @override
    def disable(self) -> None:
        self._close()
        self._enabled = False

    @override
    def enable(self) -> None:
        self._enabled = True

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        there = trainer.callbacks
        if sum(isinstance(each, either("callbacks.ProgressBar")) for each in there) > 1:
            # The module brings one of its own, which asks the Trainer for itself. Lightning goes through this
            # list, so the place stays taken.
            there[there.index(self)] = pl.Callback()
            self.disable()

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin(_batches_done(trainer))

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if time.monotonic() >= self._next:
            self._measure(_batches_done(trainer), batch)
            self._show(self._training(trainer))

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._display is not None:
            self._rate.add(time.monotonic(), _batches_done(trainer))
            self._show(self._training(trainer), milestone=True)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not _fitting(trainer):
            self._begin(0)

    @override
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if time.monotonic() < self._next or trainer.sanity_checking:
            return
        self._evaluating("validate", batch_idx, trainer.num_val_batches, dataloader_idx, batch)

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not _fitting(trainer):
            self._end_evaluation("validate", trainer.num_val_batches)

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin(0)

    @override
    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if time.monotonic() >= self._next:
            self._evaluating("test", batch_idx, trainer.num_test_batches, dataloader_idx, batch)

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end_evaluation("test", trainer.num_test_batches)

    @override
    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin(0)

    @override
    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if time.monotonic() >= self._next:
            self._evaluating("predict", batch_idx, trainer.num_predict_batches, dataloader_idx, batch)

    @override
    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    @override
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        # After an error neither teardown nor any hook at an end is called.
        self._close()

    def _begin(self, step: int) -> None:
        self._close()
        if not self._enabled:
            return
        self._display = display(self._console or Console(stderr=True), self._per_second, self._longest_wait)
        self._rate = Rate()
        self._rate.add(time.monotonic(), step)
        self._tokens, self._looks = 0, 0
        # The first batch is always looked at: its size makes samples out of steps.
        self._next = 0.0

    def _close(self) -> None:
        self._next = _NEVER
        if self._display is not None:
            # Forgotten first, so that a display that fails here is not closed again and again.
            closing, self._display = self._display, None
            closing.close()

    def _show(self, position: ProgressPosition, milestone: bool = False) -> None:
        if self._display is not None:
            self._display.show(position, milestone=milestone)
            self._next = time.monotonic() + self._display.wait()

    def _measure(self, step: int, batch: Any) -> None:
        self._rate.add(time.monotonic(), step)
        # The last batch of an epoch is often a partial one: the largest seen stands for all.
        ranks = share_of_data(self.trainer.strategy)[1]
        self._samples_per_step = max(size_of(batch) * ranks, self._samples_per_step or 0)
        if (tokens := real_tokens(batch)) is not None:
            self._tokens, self._looks = self._tokens + tokens * ranks, self._looks + 1

    @property
    def _tokens_per_batch(self) -> float | None:
        """The mean, as texts have unequal lengths."""
        return self._tokens / self._looks if self._looks else None

    def _evaluating(self, stage: str, batch_idx: int, totals: Any, loader: int, batch: Any) -> None:
        done, total = batch_idx + 1, _whole(totals[loader])
        if _fitting(self.trainer):
            # An evaluation within training must not disturb the training's rate.
            self._show(ProgressPosition(done, total, stage))
            return
        self._measure(done, batch)
        speed = self._rate.per_second()
        self._show(
            ProgressPosition(
                done,
                total,
                stage,
                steps_per_second=speed,
                samples_per_step=self._samples_per_step,
                tokens_per_step=self._tokens_per_batch,
            )
        )

    def _end_evaluation(self, stage: str, totals: Any) -> None:
        """The last line says that all of it was seen, however long ago it was drawn."""
        if self._display is not None and (total := _whole(sum(totals))) is not None:
            self._display.show(
                ProgressPosition(total, total, stage, metrics=_shown(self.trainer.callback_metrics))
            )
        self._close()

    def _training(self, trainer: pl.Trainer) -> ProgressPosition:
        """In optimizer steps, as checkpoints and metrics count: several a batch, or one for several."""
        batches = _batches_done(trainer)
        per_batch = trainer.global_step / batches if batches else 0.0
        speed, samples, tokens = self._rate.per_second(), self._samples_per_step, self._tokens_per_batch
        return ProgressPosition(
            trainer.global_step,
            _steps_total(trainer),
            epoch=trainer.current_epoch + 1,
            epochs=trainer.max_epochs if (trainer.max_epochs or -1) > 0 else None,
            steps_per_second=None if speed is None else speed * per_batch,
            samples_per_step=round(samples / per_batch) if samples and per_batch else None,
            tokens_per_step=tokens / per_batch if tokens and per_batch else None,
            metrics=_shown(trainer.callback_metrics),
            note="  ".join(_notes(trainer)),
        )


def _fitting(trainer: pl.Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING


def _batches_done(trainer: pl.Trainer) -> int:
    return trainer.fit_loop.total_batch_idx + 1


def _steps_total(trainer: pl.Trainer) -> int | None:
    """Of the whole fit, by `max_epochs` or `max_steps`, whichever ends it first."""
    epochs, most, steps = trainer.max_epochs, trainer.max_steps, trainer.global_step
    batches = trainer.num_training_batches * epochs if epochs is not None and epochs > 0 else _NEVER
    by_epochs = batches * steps / _batches_done(trainer) if steps else _NEVER
    return _whole(min(by_epochs, most if most > 0 else _NEVER))


def _notes(trainer: pl.Trainer) -> list[str]:
    """What other callbacks have to say in a few words: any may have a `progress_note`."""
    notes = [getattr(callback, "progress_note", "") for callback in trainer.callbacks]
    return [note for note in notes if isinstance(note, str) and note]


def _whole(count: float) -> int | None:
    return None if count == _NEVER else math.ceil(count)


def _shown(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """The first few metrics: the training loss ahead of the others, as `loss`, and no figure twice."""
    names = [name for name in metrics if not name.endswith(("_step", "_epoch")) and name != "lr"]
    names.sort(key=lambda name: name not in ("train_loss", "loss"))
    return {name.removeprefix("train_"): float(metrics[name]) for name in names[:_METRICS_SHOWN]}
