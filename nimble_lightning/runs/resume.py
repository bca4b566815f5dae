"""From which checkpoint an attempt continues."""

from __future__ import annotations

import logging
from pathlib import Path

from nimble_lightning.checkpoint import newest_whole, sweep, verify
from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.run_folder import CHECKPOINTS
from nimble_lightning.runs.job import Job

log = logging.getLogger(__name__)


def find(job: Job, *, first_of_command: bool) -> tuple[str | None, int]:
    """The newest whole checkpoint of this run and its step.

    `resume=` decides for a command's first attempt, unless the run has begun from that checkpoint already.
    """
    wanted = job.settings.resume
    first_of_command = first_of_command and not begun_from(job)
    if first_of_command and wanted == "never":
        _set_aside(job)
    if first_of_command and isinstance(wanted, Path):
        return _given(wanted)
    # No worker is left that could be writing; a killed save may have left a file as large as a checkpoint.
    sweep(job.folder.checkpoints)
    passed_over: list[tuple[Path, str]] = []
    found = newest_whole(job.folder.steps, run_id=job.run_id, passed_over=passed_over)
    for path, why in passed_over:
        log.warning("passed over checkpoint %s: %s", path.name, why)
    if found is not None:
        return str(found.path), found.manifest.step
    if passed_over:
        log.warning("no checkpoint of this run is whole: it starts from the beginning")
    return _given(wanted) if isinstance(wanted, Path) else (None, 0)


def begun_from(job: Job) -> bool:
    """Whether the run has started from the checkpoint that `resume=` names."""
    wanted = str(Path(job.settings.resume).resolve())
    attempts = read_json(job.folder.run).get("attempts", [])
    return any(attempt.get("resumed_from") == wanted for attempt in attempts)


def _given(path: Path) -> tuple[str, int]:
    if not path.exists():
        raise RequestError(f"resume={path} does not exist. Give a checkpoint, or resume=auto.")
    try:
        manifest = verify(path)
    except CheckpointError as error:
        raise RequestError(f"resume={path} cannot be used: {error}") from None
    return str(path.resolve()), manifest.step


def _set_aside(job: Job) -> None:
    """Nothing the user made is lost: what an earlier start left is kept beside."""
    if not any(job.folder.steps.glob("*.ckpt")):
        return
    number = 1
    while (aside := job.folder.checkpoints.with_name(f"{CHECKPOINTS}.before-{number}")).exists():
        number += 1
    job.folder.checkpoints.rename(aside)
    job.folder.create()
