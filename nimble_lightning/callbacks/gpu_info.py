"""What the GPUs are, what they do while a run lasts, and when something is wrong with them."""

from __future__ import annotations

import contextlib
import json
import logging
import platform
from pathlib import Path
from typing import Any

import lightning as L
from rich.console import Console
from typing_extensions import override

from nimble_lightning.callbacks._guard import guarded
from nimble_lightning.callbacks._output_folder import place, tell
from nimble_lightning.errors import RequestError
from nimble_lightning.gpu import Gpu, devices_in_use
from nimble_lightning.gpu.alarms import Alarm
from nimble_lightning.gpu.host import Host
from nimble_lightning.gpu.overview import overview
from nimble_lightning.gpu.overview_table import show
from nimble_lightning.gpu.sample import brief, metrics
from nimble_lightning.gpu.watch import GpuWatch, Sampler, file_name
from nimble_lightning.notifications import events
from nimble_lightning.notifications.events import EventKind
from nimble_lightning.ops.lightning_packages import serves_both
from nimble_lightning.run_folder import RECORD

log = logging.getLogger(__name__)


@guarded
@serves_both
class GPUInfo(L.Callback):
    """Shows the GPUs and what is worth a look at the start, then watches them once a second.

    Each look is a line of `gpu.jsonl` in the run's folder, beside what the logger writes elsewhere, or of
    `gpu.rank-R.jsonl` for the other ranks: each watches its own device, and the first of each machine the
    machine as well. The newest look is shown by `Progress`, and logged whenever Lightning logs, as
    `gpu/0/utilization`, `gpu/0/memory_used`, `host/cpu` and so on. A slowed, hot, full, faulty or idle GPU
    is said once, in the log and as an event. Without a GPU the machine is watched.

    The looking is done on a thread that takes at most half a per cent of a core; where looks are dear there
    are fewer of them.

    Args:
        interval: Seconds between two looks.
        devices: CUDA's numbers of what to watch, by the first rank of a machine, where that is not simply
            the device of each rank.
        to_logger: Whether the loggers get figures.
        console: Where to show the table; standard error unless given.

    Raises:
        RequestError: The interval is not positive, or there is no such device.

    Example::

        L.Trainer(callbacks=[GPUInfo()])
    """

    def __init__(
        self,
        interval: float = 1.0,
        devices: list[int] | None = None,
        to_logger: bool = True,
        console: Console | None = None,
    ) -> None:
        if interval <= 0:
            raise RequestError(f"interval={interval!r} of gpu_info: expected seconds, more than 0.")
        self.interval = interval
        self.devices = devices
        self.to_logger = to_logger
        self._console = console
        self._shown = False
        self._watch: GpuWatch | None = None
        self._sampler: Sampler | None = None
        self._logs = False
        self._logged: object = None

    def __getstate__(self) -> dict[str, Any]:
        # A copy watches when it comes to a run.
        return {**vars(self), "_watch": None, "_sampler": None}

    @property
    def progress_note(self) -> str:
        """The newest look in a few words."""
        latest = self._watch.latest if self._watch is not None else None
        return "" if latest is None else brief(latest["devices"], latest.get("host"))

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._finish()
        folder = place(trainer)
        if trainer.fast_dev_run or trainer.barebones:
            return
        visible = devices_in_use()
        if trainer.local_rank == 0:
            self._introduce(trainer, visible, folder)
        gpus = self._own(trainer, visible)
        if gpus or trainer.local_rank == 0:
            self._begin(trainer, gpus, folder)

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._watch is not None:
            self._watch.training = True

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Loggers are not safe to use from the thread that looks.
        if not self._logs or self._watch is None or (latest := self._watch.latest) is self._logged:
            return
        if latest is not None and trainer._logger_connector.should_update_logs:
            self._logged = latest
            for logger in trainer.loggers:
                logger.log_metrics(metrics(latest), step=trainer.fit_loop.epoch_loop._batches_that_stepped)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._watch is not None:
            self._watch.training = False

    @override
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._finish()

    @override
    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        # After an error there is no teardown.
        self._finish()

    def _introduce(self, trainer: L.Trainer, visible: list[Gpu], folder: Path) -> None:
        """Show what this machine has for the run, once."""
        if self._shown:
            return
        self._shown = True
        used = [gpu for gpu in visible if gpu.index in self._numbers(trainer)]
        found = overview(used, folder, siblings=trainer.world_size > 1)
        if trainer.is_global_zero:
            show(found, self._console or Console(stderr=True))
        else:
            for warning in found.warnings:
                log.warning("%s: %s", platform.node(), warning)

    def _numbers(self, trainer: L.Trainer) -> list[int]:
        """CUDA's numbers of all devices of this machine that the run uses."""
        if self.devices is not None:
            return self.devices
        return list(trainer.device_ids) if trainer.strategy.root_device.type == "cuda" else []

    def _own(self, trainer: L.Trainer, visible: list[Gpu]) -> list[Gpu]:
        """The devices that this rank watches."""
        if self.devices is None:
            root = trainer.strategy.root_device
            return [gpu for gpu in visible if root.type == "cuda" and gpu.index == (root.index or 0)]
        gone = [number for number in self.devices if number not in range(len(visible))]
        if visible and gone:
            raise RequestError(
                f"gpu_info has no device {gone[0]} to watch; there are {len(visible)}, counted from 0."
            )
        return [visible[number] for number in self.devices if visible] if trainer.local_rank == 0 else []

    def _begin(self, trainer: L.Trainer, gpus: list[Gpu], folder: Path) -> None:
        rank, attempt = trainer.global_rank, _attempt(folder)
        self._watch = GpuWatch(
            gpus,
            Host(folder) if trainer.local_rank == 0 else None,
            folder / file_name(rank),
            lambda: {"attempt": attempt, "rank": rank, "step": trainer.global_step},
            lambda alarm: _tell(trainer, folder, alarm),
        )
        self._logs = self.to_logger and trainer.is_global_zero and bool(trainer.loggers)
        self._sampler = Sampler(self._watch.look, self.interval)
        self._sampler.start()

    def _finish(self) -> None:
        watch, self._watch = self._watch, None
        sampler, self._sampler = self._sampler, None
        # A look that hangs in the driver is left behind with all it uses.
        if watch is not None and sampler is not None and sampler.stop():
            watch.close()


def _tell(trainer: L.Trainer, folder: Path, alarm: Alarm) -> None:
    facts = {"alarm": alarm.name, "text": alarm.text, "device": alarm.device}
    if trainer.is_global_zero:
        tell(trainer, EventKind.ALARM, **facts)
        return
    # Only this rank knows of its device, and a message through the first one would need a collective.
    with contextlib.suppress(OSError):
        events.append(folder, EventKind.ALARM, step=trainer.global_step, rank=trainer.global_rank, **facts)


def _attempt(folder: Path) -> int | None:
    """Which start of a run this is, by its record; None in a project of its own."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return len(record["attempts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
