"""What becomes of a finished run's exports once its worker is gone: other formats, the card, the Hub."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence

from nimble_lightning.errors import NimbleError
from nimble_lightning.export import metadata
from nimble_lightning.export.formats import ExportFormat
from nimble_lightning.export.model_card import CARD
from nimble_lightning.export.upload_queue import Push, Pusher
from nimble_lightning.ops.run_files import write_text
from nimble_lightning.runs.completion import hub_exports
from nimble_lightning.runs.job import Job

log = logging.getLogger(__name__)

_SECONDS_TO_EXPORT = 3600
_SECONDS_TO_PUSH = 3600.0


def finish(job: Job) -> None:
    """Export in the formats that need the model built anew, then write the card; never fails a run."""
    asked = map(ExportFormat, job.settings.export or ())
    formats = [each for each in asked if each is not ExportFormat.SAFETENSORS]
    if formats:
        _export(job, formats)
    out = job.folder.exported
    if metadata.exported_in(out):
        try:
            write_text(out / CARD, hub_exports.card_for(job, out))
        except (NimbleError, OSError, TypeError, ValueError) as error:
            log.warning("the model card was not written: %s", error)


def push(job: Job) -> None:
    """Push what was exported, where `callbacks.hub_push` says so; a failure is a warning with the command."""
    asked = job.settings.callbacks.hub_push
    if asked is None or not asked.repo:
        return
    repo, private, out = asked.repo, asked.private, job.folder.exported
    pusher = Pusher()
    pusher.add(
        Push(
            what=str(out),
            act=lambda: log.info("pushed to %s", hub_exports.push(job, out, repo, private)),
            command=f"nimble-cli export {job.folder.path} --to hub --repo {repo}",
        )
    )
    pusher.finish(_SECONDS_TO_PUSH)


def _export(job: Job, formats: Sequence[str]) -> None:
    words = [str(job.folder.path), "--to", *formats, "--out", str(job.folder.exported), "--trust"]
    again = f"nimble-cli export {' '.join(words)}"
    command = [sys.executable, "-m", "nimble_lightning.commands.export.command", *words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS_TO_EXPORT, check=False
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        log.warning("%s were not exported: %s To try again: %s", ", ".join(formats), error, again)
        return
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        log.warning("%s were not exported: %s To try again: %s", ", ".join(formats), reason, again)
    else:
        log.info("%s", done.stdout.strip())
