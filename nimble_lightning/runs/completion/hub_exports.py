"""Exports of a run on the Hub: with a card that says what the run came to, and its statement if any."""

from __future__ import annotations

import json
from pathlib import Path

from nimble_lightning.errors import ExportError
from nimble_lightning.export import metadata
from nimble_lightning.export.hub_upload import push as push_folder
from nimble_lightning.export.model_card import CARD, card
from nimble_lightning.ops.plain_files import read
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.ops.secrets import redact
from nimble_lightning.proof.statement import LARGEST
from nimble_lightning.run_folder import STATEMENT
from nimble_lightning.runs.job import Job


def push(job: Job, folder: Path, repo: str, private: bool | None = None, *, bars: bool = False) -> str:
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
