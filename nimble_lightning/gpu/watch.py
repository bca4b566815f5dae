"""Devices and their machine, watched: each look is written down, and what is wrong is said."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nimble_lightning.gpu.alarms import Alarm, Alarms
from nimble_lightning.gpu.device import Gpu
from nimble_lightning.gpu.host import Host
from nimble_lightning.gpu.journal import append
from nimble_lightning.gpu.sample import SampleReader
from nimble_lightning.run_folder import GPU_SAMPLES, of_rank

log = logging.getLogger(__name__)


def file_name(rank: int) -> str:
    """Where a rank writes its looks, in the folder of the run."""
    return of_rank(GPU_SAMPLES, rank)


class GpuWatch:
    """What one rank sees.

    Args:
        gpus: Its devices.
        host: The machine, for one rank of each; None for the others.
        file: Where a line goes at each look.
        facts: What else each line shall hold, asked anew for each.
        alarm: Called with each thing that is wrong, once.

    Attributes:
        training: Whether the devices should have something to do.
        latest: The last look; None before the first.
    """

    def __init__(
        self,
        gpus: Sequence[Gpu],
        host: Host | None,
        file: Path,
        facts: Callable[[], Mapping[str, Any]],
        alarm: Callable[[Alarm], None],
    ) -> None:
        self.training = False
        self.latest: dict[str, Any] | None = None
        self._readers = [SampleReader(gpu) for gpu in gpus]
        self._host = host
        self._file = file
        self._facts = facts
        self._alarm = alarm
        self._alarms = Alarms()
        self._write_failed = False

    def look(self) -> None:
        """Take one sample."""
        sample: dict[str, Any] = {"time": round(time.time(), 3), **self._facts()}
        devices = sample["devices"] = [reader.read() for reader in self._readers]
        if self._host is not None:
            sample["host"] = self._host.read()
        self.latest = sample
        for alarm in self._alarms.look(devices, time.monotonic(), training=self.training):
            log.warning("%s", alarm.text)
            self._alarm(alarm)
        self._write(json.dumps(sample, separators=(",", ":")))

    def close(self) -> None:
        """Give the driver back what looking needed; nobody may be looking any more."""
        for reader in self._readers:
            reader.close()

    def _write(self, line: str) -> None:
        try:
            append(self._file, line)
        except OSError as error:
            # There may be room again later; until then the run goes on and this is not said every second.
            if not self._write_failed:
                log.warning("%s cannot be written (said once): %s", self._file, error.strerror)
            self._write_failed = True
