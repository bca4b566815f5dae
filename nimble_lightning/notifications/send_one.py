"""One message to one address, in a process of its own: an endpoint that never answers is ended with it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nimble_lightning.notifications import loss_curve, outbox, run_facts
from nimble_lightning.notifications.addresses import Address
from nimble_lightning.notifications.delivery_plan import Batch
from nimble_lightning.notifications.message_writer import Message, MessageWriter
from nimble_lightning.ops import plain_files, secrets
from nimble_lightning.run_folder import SHOW, SHOW_INDEX

ATTEMPT_SECONDS = 15
_PICTURES_SECONDS = 60
_MOST_PICTURES = 3
_PICTURE_BYTES = 5_000_000
_SAID_BYTES = 2000
_MOST_FILES = 1024


@dataclass
class DeliveryAttempt:
    """A message on its way."""

    address: Address
    batch: Batch
    pid: int
    said: int
    deadline: float

    def ended(self) -> str | None:
        """None while it goes on, "" when the message arrived, else why it did not."""
        with contextlib.suppress(ChildProcessError):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == 0:
                return None
            self.pid = 0
            if status == 0:
                return ""
        said = os.read(self.said, _SAID_BYTES).decode(errors="replace").strip()
        return said or f"no answer within {ATTEMPT_SECONDS} s"

    def close(self) -> None:
        """Forget it; one that still runs ends with its time."""
        os.close(self.said)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def start(address: Address, batch: Batch, now: float, deliver: Callable[[], None]) -> DeliveryAttempt:
    """Fork and deliver there. The fork keeps the lock of the outbox: nobody sends the same meanwhile."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        os.set_blocking(read, False)
        return DeliveryAttempt(address, batch, pid, read, now + ATTEMPT_SECONDS)
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        # In a trickle of bytes no time-out of a socket ever passes; and no sender may be left to end this.
        signal.alarm(ATTEMPT_SECONDS)
        deliver()
        code = 0
    except Exception as error:  # whatever a service's plugin raises, it is an answer for the parent
        reason = str(error) if isinstance(error, Refused) else traceback.format_exc(limit=-1)
        os.write(write, secrets.redact(reason).encode()[:_SAID_BYTES])
    finally:
        os._exit(code)


class Refused(Exception):
    """The service did not take the message; the text says why."""


def deliver(folder: Path, address: Address, batch: Batch, writer: MessageWriter) -> None:
    """Send, and write down that it arrived.

    Raises:
        Refused: It did not arrive.
    """
    send(address, writer.write(folder, batch, markdown=address.wants_markdown))
    with contextlib.suppress(OSError):
        # On a full disk the sender still knows.
        outbox.record(folder, address.key, batch)


def start_pictures(folder: Path, address: Address) -> None:
    """Send the curve and the first samples as a message of their own; refused, they cost only themselves.

    Nobody waits for it. It keeps no lock either: the text has arrived by then.
    """
    if not getattr(address.service, "attachment_support", False) or os.fork():
        return
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.alarm(_PICTURES_SECONDS)
        os.closerange(3, _MOST_FILES)
        with tempfile.TemporaryDirectory() as place:
            if files := [str(path) for path in _pictures(folder, Path(place))]:
                send(address, Message("", f"{folder.name}: pictures"), files)
    except Exception as error:  # whatever a service's plugin raises
        print(secrets.redact(f"{address.label}: no pictures: {error}"), file=sys.stderr, flush=True)
    finally:
        os._exit(0)


def send(address: Address, message: Message, attach: list[str] | None = None) -> None:
    """Hand a message to the service.

    Raises:
        Refused: It did not take it.
    """
    import apprise

    kinds = {True: apprise.NotifyType.SUCCESS, False: apprise.NotifyType.FAILURE}
    service = apprise.Apprise(asset=address.service.asset)
    service.add(address.service)
    markdown = address.wants_markdown
    with _overheard() as said:
        arrived = service.notify(
            title=message.title,
            body=message.body,
            body_format=apprise.NotifyFormat.MARKDOWN if markdown else apprise.NotifyFormat.TEXT,
            notify_type=apprise.NotifyType.INFO if message.is_good is None else kinds[message.is_good],
            attach=attach,
        )
    if not arrived:
        raise Refused(said[-1] if said else "refused")


def _pictures(folder: Path, place: Path) -> Iterator[Path]:
    metrics, _ = run_facts.last_metrics(folder)
    name = run_facts.telling(metrics)
    if name is not None and (picture := loss_curve.draw(run_facts.history(folder, name))) is not None:
        path = place / f"{''.join(c if c.isalnum() else '_' for c in name[:80])}.png"
        path.write_bytes(picture)
        yield path
    yield from islice(_shown(folder, place), _MOST_PICTURES)


def _shown(folder: Path, place: Path) -> Iterator[Path]:
    """Copies of the small files in `show/`, by the name they have there: whatever path an index may tell."""
    entries = plain_files.read_json(folder, SHOW_INDEX)
    for entry in entries if isinstance(entries, list) else []:
        name = Path(str(entry.get("file") or "")).name if isinstance(entry, dict) else ""
        with contextlib.suppress(OSError):
            content = plain_files.read(folder, f"{SHOW}/{name}", _PICTURE_BYTES)
            (place / SHOW).mkdir(exist_ok=True)
            path = place / SHOW / name
            path.write_bytes(content)
            yield path


@contextlib.contextmanager
def _overheard() -> Iterator[list[str]]:
    """What Apprise says about a failure is only in its log."""
    said: list[str] = []

    class _Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    log, ear = logging.getLogger("apprise"), _Ear(logging.WARNING)
    before = log.propagate
    log.addHandler(ear)
    log.propagate = False
    try:
        yield said
    finally:
        log.removeHandler(ear)
        log.propagate = before
