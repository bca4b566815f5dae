"""What becomes of a finished run's exports once its worker is gone: other formats, the card, the Hub."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from nimble_lightning.errors import ExportError, NimbleError
from nimble_lightning.export import metadata
from nimble_lightning.export.formats import ExportFormat
from nimble_lightning.export.hub_upload import push as push_folder
from nimble_lightning.export.model_card import CARD, card
from nimble_lightning.export.upload_queue import Push, Pusher
from nimble_lightning.ops.plain_files import read
from nimble_lightning.ops.run_files import read_json, write_text
from nimble_lightning.ops.secrets import redact
from nimble_lightning.proof.statement import LARGEST
from nimble_lightning.run_folder import STATEMENT
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
            write_text(out / CARD, card_for(job, out))
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
            act=lambda: log.info("pushed to %s", push_to_hub(job, out, repo, private)),
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


def push_to_hub(job: Job, folder: Path, repo: str, private: bool | None = None, *, bars: bool = False) -> str:
    """Push a run's exports; returns the address of the commit.

    Raises:
        ExportError: A file is not what it was when it was checked, or the Hub could not be reached.
    """
    if not metadata.is_whole(folder):
        raise ExportError(f"{folder} holds no exports, or they were altered since they were checked.")
    statements = sorted(job.folder.path.glob(f"{STATEMENT}*"))
    for path in (folder, *folder.rglob("*"), *statements):
        if path.is_symlink():
            # It could lead to anything that whoever pushes can read.
            raise ExportError(f"{path} is a link; only what is in the folder itself is pushed. Remove it.")
    extra = {path.name: read(path.parent, path.name, LARGEST) for path in statements if path.is_file()}
    if not (folder / CARD).exists():
        extra[CARD] = card_for(job, folder).encode()
    return push_folder(folder, repo, message=f"Run {job.run_id}", extra=extra, private=private, bars=bars)


def card_for(job: Job, folder: Path) -> str:
    """The model card of a run's exports, from the files of the run."""
    found = [metadata.read(one) for one in metadata.exported_in(folder)]
    if not found:
        raise ExportError(f"{folder} holds no exports.")
    config = json.loads(json.dumps(job.unresolved(), default=str))
    usage = read_json(job.folder.usage)
    cards = [card(one, read_json(job.folder.run), usage, config) for one in found]
    # One front matter; the rest of several models follows one after the other.
    return redact("\n".join([cards[0], *(text.split("---\n", 2)[2] for text in cards[1:])]))
