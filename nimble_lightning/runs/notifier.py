"""The sender of a run: started before it, told when it is over. Whoever runs a job has one, no worker has."""

from __future__ import annotations

import contextlib
import logging
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nimble_lightning.errors import RequestError
from nimble_lightning.notifications import addresses, events
from nimble_lightning.notifications.events import EventKind
from nimble_lightning.notifications.message_writer import MessageWriter
from nimble_lightning.notifications.sender import SenderSettings
from nimble_lightning.notifications.sender_process import NOBODY, SenderProcess, settings_of
from nimble_lightning.ops import secrets
from nimble_lightning.runs.cluster import schedulers
from nimble_lightning.runs.job import Job
from nimble_lightning.settings import NotificationSettings, read

log = logging.getLogger(__name__)


@contextmanager
def telling(job: Job) -> Iterator[None]:
    """Deliver the events of a run while the block runs, and what is left afterwards without making it wait.

    Raises:
        RequestError: An address or a template cannot be used. Nothing has been started yet.
    """
    asked = job.settings.callbacks.notification
    if asked is None:
        yield
        return
    MessageWriter(asked.templates)
    if not addresses.find(asked.urls, asked.events):
        log.warning(NOBODY)
        yield
        return
    sender = _started(job, settings_of(asked, resume_command(job)))
    try:
        yield
    finally:
        if sender is not None:
            sender.close()


def tell_sweep(folder: Path, config: DictConfig, **facts: object) -> None:
    """Tell that a sweep is over, from an outbox of its own. Costs it nothing, whatever comes of it."""
    block = OmegaConf.select(config, "callbacks.notification")
    if not block:
        return
    with contextlib.suppress(OSError, OmegaConfBaseException, RequestError):
        events.append(folder, EventKind.SWEEP_FINISHED, run=folder.name, **facts)
        given: Any = OmegaConf.to_container(block, resolve=True)
        SenderProcess(folder, settings_of(read(NotificationSettings, given))).close()


def resume_command(job: Job) -> str:
    """What to type for the run to go on where it is."""
    environment = schedulers.current()
    if environment is not None and (asked := environment.asked_command(job.folder)) is not None:
        return asked
    program, *words = sys.orig_argv
    start = [Path(program).name]
    if words[:1] == ["-c"]:
        return f"the same command again, with run_id={job.run_id}"
    if words and Path(words[0]).name == "nimble-cli":
        start, words = ["nimble-cli"], words[1:]
    elif words[:2] == ["-m", "nimble_lightning"]:
        start, words = [*start, *words[:2]], words[2:]
    # An address that was typed is in a variable of this process alone, and has to be typed again.
    typed = secrets.redact(shlex.join([*start, *words]))
    command = re.sub(r"secret:NIMBLE_NOTIFICATION_\d+", "ADDRESS", typed)
    if len(start) == 1 and start != ["nimble-cli"]:
        return f"{command}  (with run_id={job.run_id!r})"
    sweep = bool({"-m", "--multirun"} & set(words))
    named = any(word.startswith("run_id=") for word in words)
    return command if sweep or named else f"{command} run_id={job.run_id}"


def _started(job: Job, settings: SenderSettings) -> SenderProcess | None:
    try:
        return SenderProcess(job.folder.path, settings)
    except OSError as error:
        log.warning(
            "nobody is told how this run goes: the sender could not be started: %s. "
            "Afterwards: nimble-cli notify %s",
            error,
            job.folder.path,
        )
        return None
