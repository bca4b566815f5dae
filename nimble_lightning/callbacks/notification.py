"""Tell people how a run goes. The run itself only writes down what happened; another process delivers it."""

from __future__ import annotations

import contextlib
import logging
import math
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from typing_extensions import override

from nimble_lightning.callbacks._fit_length import steps_of_fit
from nimble_lightning.callbacks._guard import guarded
from nimble_lightning.callbacks._output_folder import in_run_folder, place, tell
from nimble_lightning.notifications import addresses
from nimble_lightning.notifications.events import EventKind
from nimble_lightning.notifications.message_writer import MessageWriter
from nimble_lightning.notifications.milestones import Milestones
from nimble_lightning.notifications.sender_process import NOBODY, SenderProcess, settings_of
from nimble_lightning.ops.lightning_packages import either, serves_both
from nimble_lightning.ops.untrusted_text import cut
from nimble_lightning.settings import NotificationSettings

log = logging.getLogger(__name__)

_TRACE_LINES = 15


@guarded
@serves_both
class Notification(L.Callback):
    """Tells services such as Telegram, Slack or mail how a run goes: start, bests, milestones, end, failure.

    Delivery never delays a step: events go into a file, from which a process of its own sends them, again and
    again if need be, after the end of the run too. A new best is what a `ModelCheckpoint` with a `monitor`
    calls one, else a lower `val_loss`.

    Args:
        urls: Addresses in Apprise's notation, or references to them: `secret:NAME` for a variable,
            `secret:/FILE` for a file that only you can read, `/FILE.yml` for one of Apprise's, or a mapping
            of `url`, `tags` and `events`. Without any, NIMBLE_NOTIFICATION_URLS is looked at.
        events: The kinds of event to be told (all of them), or for each tag the kinds that go there.
        milestone: How often a run that goes well is told of: `25%`, `5 epochs`, `30m`, or None.
        templates: A folder of jinja2 templates to be used instead of the shipped ones.
        pictures: Whether a finished run sends its curve and first samples, as a message of their own.
        linger: How long after the end delivery is tried; what is left then `nimble-cli notify` delivers.

    Raises:
        RequestError: An argument cannot be used; the message says what to write.

    Example::

        L.Trainer(callbacks=[Notification([os.environ["TELEGRAM_URL"]], milestone="30m")])
    """

    def __init__(
        self,
        urls: Sequence[str | Mapping[str, Any]] | str | None = None,
        events: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        milestone: str | None = "25%",
        templates: str | None = None,
        pictures: bool = True,
        linger: float | str = "5m",
    ) -> None:
        self._settings = settings_of(
            NotificationSettings(
                urls=urls, events=events, templates=templates, pictures=pictures, linger=linger
            )
        )
        self._milestones = Milestones.every(milestone)
        self._sender: SenderProcess | None = None
        self._alone = self._tells = False
        self._began = (0.0, 0)
        self._total: int | None = None
        self._best: tuple[str, float] | None = None
        self._look_at: float = math.inf

    def __getstate__(self) -> dict[str, Any]:
        # A copy has nobody sent out yet.
        return {**vars(self), "_sender": None}

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        folder = place(trainer)
        addresses.learn(self._settings.urls)
        self._tells = trainer.is_global_zero and not trainer.fast_dev_run and stage == "fit"
        # Whoever supervises a run tells its beginning and end, and has the sender.
        self._alone = False
        if not self._tells or in_run_folder(trainer):
            return
        MessageWriter(self._settings.templates)
        found = addresses.find(self._settings.urls, self._settings.events)
        self._alone = True
        self._close()
        if found:
            self._sender = SenderProcess(folder, self._settings)
        else:
            log.warning(NOBODY)

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._tells:
            return
        steps = steps_of_fit(trainer)
        self._total = int(steps) if 0 < steps < math.inf else None
        self._began = time.time(), trainer.global_step
        self._best = _best_of(trainer, self._best)
        self._milestones.begin(trainer.global_step, self._total, time.monotonic())
        if self._alone:
            self._tell(trainer, EventKind.STARTED, resumed=trainer.global_step > 0)

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._look_at = 0 if self._tells else math.inf

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx >= self._look_at or time.monotonic() >= self._milestones.next_time:
            self._look(trainer, batch_idx)

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Checkpoint callbacks come last, so what is best is known a moment later.
        if self._tells:
            self._look_at = 0

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._tells:
            return
        self._tell_best(trainer)
        reached = self._milestones.at_epoch_end(trainer.current_epoch + 1, trainer.max_epochs)
        if reached is not None:
            self._tell(trainer, EventKind.MILESTONE, milestone=reached)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._tells:
            self._tell_best(trainer)
        if self._alone:
            self._tell(trainer, EventKind.FINISHED, seconds=time.time() - self._began[0])

    @override
    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if not self._alone:
            return
        stopped = isinstance(exception, (KeyboardInterrupt, *either("utilities.exceptions.SIGTERMException")))
        trace = "".join(traceback.format_exception(exception)).rstrip().splitlines()[-_TRACE_LINES:]
        self._tell(
            trainer,
            EventKind.STOPPED if stopped else EventKind.FAILED,
            cause=type(exception).__name__,
            reason=cut(f"{type(exception).__name__}: {exception}"),
            rank=trainer.global_rank,
            trace="" if stopped else cut("\n".join(trace)),
        )
        self._close()

    @override
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._close()

    @override
    def state_dict(self) -> dict[str, Any]:
        return {} if self._best is None else {"best": list(self._best)}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if "best" in state_dict:
            name, value = state_dict["best"]
            self._best = name, value

    def _look(self, trainer: L.Trainer, batch_idx: int) -> None:
        """Seldom enough to ask the Trainer; says when to look again."""
        if not self._tells:
            self._milestones.next_time = math.inf
            return
        step = trainer.global_step
        self._tell_best(trainer)
        reached = self._milestones.at_step(step, self._total, time.monotonic())
        if reached is not None:
            self._tell(trainer, EventKind.MILESTONE, milestone=reached)
        # Never later than the step itself, though it may take several batches.
        self._look_at = batch_idx + self._milestones.steps_to_next(step, self._total)

    def _tell_best(self, trainer: L.Trainer) -> None:
        best = _best_of(trainer, self._best)
        if best is not None and best != self._best:
            self._best = best
            self._tell(trainer, EventKind.BEST, monitor=best[0])

    def _tell(self, trainer: L.Trainer, kind: EventKind, **facts: Any) -> None:
        (began, first), step, now = self._began, trainer.global_step, time.time()
        if self._best is not None:
            facts = {"monitor": self._best[0], "best": self._best[1], **facts}
        if self._total is not None and step > first and kind in (EventKind.BEST, EventKind.MILESTONE):
            facts["eta_seconds"] = (now - began) / (step - first) * max(self._total - step, 0)
        if began:
            facts.setdefault("seconds", now - began)
        if self._alone:
            facts["name"] = type(trainer.lightning_module).__name__
        tell(trainer, kind, metrics=_numbers(trainer.callback_metrics), total_steps=self._total, **facts)

    def _close(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close()


def _best_of(trainer: L.Trainer, before: tuple[str, float] | None) -> tuple[str, float] | None:
    """Name and value of what is best by now."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, either("callbacks.ModelCheckpoint")) and callback.monitor is not None:
            score = callback.best_model_score
            return before if score is None else (callback.monitor, float(score))
    loss = _numbers(trainer.callback_metrics).get("val_loss")
    if loss is None or not math.isfinite(loss) or (before is not None and before[1] <= loss):
        return before
    return "val_loss", loss


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    found = {}
    for name, value in metrics.items():
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            found[name] = float(value)
    return found
