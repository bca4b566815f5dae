"""Devices and their machine, watched about once a second: looks are written down, what is wrong is said."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nimble_lightning.gpu.alarms import Alarm, Alarms
from nimble_lightning.gpu.device import Gpu
from nimble_lightning.gpu.host import Host
from nimble_lightning.gpu.sample import SampleReader
from nimble_lightning.run_folder import GPU_SAMPLES, of_rank

log = logging.getLogger(__name__)


# Of one core. Where a look is dear (many cards, a slow driver) there are fewer of them.
_SHARE = 0.005
_PATIENCE_SECONDS = 2.0


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


def append(path: Path, line: str) -> None:
    """Add a line; one that a kill or a full disk cut short does not swallow it.

    The file is opened each time, so that nothing is held open in between, nor in processes forked meanwhile.

    Raises:
        OSError: It could not be written, or not whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(file).st_size
        torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        content = b"\n" * torn + f"{line}\n".encode()
        if os.write(file, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(file)


class Sampler:
    """Calls `look` every `interval` seconds on a thread of its own, less often where that takes much work.

    Args:
        look: What is called, never twice at once.
        interval: Seconds.

    Attributes:
        cpu_seconds: What all looks together have cost.
    """

    def __init__(self, look: Callable[[], None], interval: float) -> None:
        self.cpu_seconds = 0.0
        self._look = look
        self._interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu-sampler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> bool:
        """End it; returns False where a look hangs in the driver and has to be left behind."""
        self._ended.set()
        self._thread.join(_PATIENCE_SECONDS)
        return not self._thread.is_alive()

    def _run(self) -> None:
        wait = 0.0
        while not self._ended.wait(wait):
            begun, spent = time.monotonic(), time.thread_time()
            self._look()
            cost = time.thread_time() - spent
            self.cpu_seconds += cost
            wait = max(begun + self._interval - time.monotonic(), cost / _SHARE, 0.0)
