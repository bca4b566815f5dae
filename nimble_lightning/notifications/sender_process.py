"""Start the process that delivers, and tell it when the run is over. Costs the run a few milliseconds."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from nimble_lightning.notifications.outbox import SENDER
from nimble_lightning.notifications.sender import LOG, SenderSettings
from nimble_lightning.notifications.services import VARIABLE
from nimble_lightning.ops import secrets
from nimble_lightning.ops.durations import in_seconds
from nimble_lightning.run_folder import OUTBOX
from nimble_lightning.settings import NotificationSettings

# Seconds, instead of what the configuration says: for tests, and for machines that are taken away at once.
LINGER = "NIMBLE_NOTIFICATION_LINGER"
COALESCE = "NIMBLE_NOTIFICATION_COALESCE"
NOBODY = f"nobody is told how this run goes: there is no address (callbacks.notification.urls, or {VARIABLE})"
_NOT_NEEDED = ("PYTHONSTARTUP", "PYTHONHOME", "OMP_", "CUDA_")


class SenderProcess:
    """A sender of its own session, so that nothing that ends the run ends it.

    Args:
        folder: Of the run.
        settings: What it is told.
    """

    def __init__(self, folder: Path, settings: SenderSettings) -> None:
        outbox = folder / OUTBOX
        outbox.mkdir(mode=0o700, parents=True, exist_ok=True)
        read, self._pipe = os.pipe()
        actions = [
            (os.POSIX_SPAWN_DUP2, read, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, str(outbox / LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        ]
        # Not a Popen: nobody waits for it, and it must not be one of the run's children that are waited for.
        self.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", SENDER, str(folder)],
            _environment(os.environ),
            file_actions=actions,
            setsid=True,
        )
        os.close(read)
        os.write(self._pipe, json.dumps(asdict(settings)).encode() + b"\n")

    def close(self) -> None:
        """The run is over. Returns at once; the sender goes on by itself until all is delivered."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)


def settings_of(asked: NotificationSettings, resume: str | None = None) -> SenderSettings:
    """What a sender is told of what was asked."""
    linger = in_seconds(str(asked.linger or SenderSettings.linger), "linger")
    return SenderSettings(
        urls=asked.urls,
        events=asked.events,
        templates=None if asked.templates is None else str(asked.templates),
        pictures=bool(asked.pictures),
        linger=float(os.environ.get(LINGER) or linger),
        coalesce=float(os.environ.get(COALESCE) or SenderSettings.coalesce),
        resume=None if resume is None else secrets.redact(resume),
    )


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Ours, less what is for training, and with the place this package was imported from."""
    kept = {name: value for name, value in ours.items() if not name.startswith(_NOT_NEEDED)}
    home = str(Path(__file__).parents[2])
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [ours.get("PYTHONPATH"), home]))
    return kept
