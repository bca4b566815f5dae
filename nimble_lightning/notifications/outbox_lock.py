"""One sender at a time for an outbox. A newer one, with newer addresses, takes over from an older one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from pathlib import Path
from types import TracebackType

from nimble_lightning.errors import RequestError
from nimble_lightning.ops import plain_files
from nimble_lightning.run_folder import OUTBOX

LOCK = "sender.lock"
SENDER = "nimble_lightning.notifications.sender"


class OutboxLock:
    """Held while somebody delivers; it vanishes with its holder, however that ended.

    Args:
        folder: Of the run.
        take_over: Ask the holder to end, and wait for it. Otherwise a holder is an error.

    Raises:
        RequestError: Somebody else delivers; or the lock is no plain file.
    """

    def __init__(self, folder: Path, *, take_over: bool = False) -> None:
        self._folder = folder
        self._take_over = take_over
        self._file = -1

    def __enter__(self) -> OutboxLock:
        (self._folder / OUTBOX).mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{OUTBOX}/{LOCK}"
        try:
            self._file = plain_files.descriptor(self._folder, name, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise RequestError(
                f"{self._folder / name} cannot be locked ({error.strerror}): expected a plain file; remove it"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 32, 0).decode(errors="replace").strip()
            if not self._take_over:
                os.close(self._file)
                raise RequestError(f"Process {holder or '?'} is delivering these already.") from None
            _ask_to_end(holder)
            fcntl.flock(self._file, fcntl.LOCK_EX)
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, str(os.getpid()).encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def _ask_to_end(holder: str) -> None:
    """By the number in the lock, once it is certain that it is still a sender's on this machine."""
    with contextlib.suppress(OSError, ValueError):
        if SENDER.encode() in Path(f"/proc/{int(holder)}/cmdline").read_bytes():
            os.kill(int(holder), signal.SIGTERM)
