"""The exact commands that go on with a run, or do something with it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nimble_lightning.report import changed_settings

_PROGRAM = "python -m nimble_lightning"


@dataclass(frozen=True)
class FollowUpCommand:
    """A command and what it does."""

    does: str
    text: str


def commands(
    job: Mapping[str, Any], run: Mapping[str, Any], folder: Path, *, signed: bool
) -> list[FollowUpCommand]:
    """What can be done with a run, to be typed where the run was started; nothing for other projects."""
    if not job.get("trainer") or not run.get("run_id"):
        return []
    place = where(job, run, folder)
    asked = _asked(job)
    named = _same_run(job, run, folder)
    finished = run.get("status") == "finished"
    does = "Ask for the run again (it has finished)" if finished else "Resume the run"
    found = [FollowUpCommand(does, shlex.join([*_PROGRAM.split(), *asked, *named]))]
    if best := run.get("best_checkpoint"):
        again = [
            f"run_id={run['run_id']}-evaluated",
            f"resume={changed_settings.value(str(best))}",
            "++lightning.max_steps=0",
        ]
        found.append(
            FollowUpCommand(
                "Evaluate the best weights again", shlex.join([*_PROGRAM.split(), *asked, *again])
            )
        )
    if finished:
        words = ["nimble-cli", "export", place, "--to", "safetensors", "--trainer", str(job["trainer"])]
        found.append(FollowUpCommand("Export the best weights", shlex.join(words)))
    if signed:
        found.append(
            FollowUpCommand(
                "Verify the signature", f"nimble-cli verify {shlex.quote(place)} --key KEY.pub.pem"
            )
        )
    found.append(FollowUpCommand("Update this page", f"nimble-cli report {shlex.quote(place)}"))
    return found


def where(job: Mapping[str, Any], run: Mapping[str, Any], folder: Path) -> str:
    """The run's folder, seen from where the run was started."""
    parts = folder.parts[-3:] if _is_member(run, folder) else folder.parts[-2:]
    return str(Path(str(job.get("output_dir") or "outputs"), *parts))


def _is_member(run: Mapping[str, Any], folder: Path) -> bool:
    """Whether the run is one of a sweep, in a folder that is only numbered."""
    return folder.name.isdigit() and str(run.get("run_id")) == f"{folder.parent.name}-{folder.name}"


def _asked(job: Mapping[str, Any]) -> list[str]:
    words = [f"trainer={changed_settings.value(str(job['trainer']))}"]
    if job.get("datamodule"):
        words.append(f"datamodule={changed_settings.value(str(job['datamodule']))}")
    if job.get("output_dir") not in (None, "outputs"):
        words.append(f"output_dir={changed_settings.value(str(job['output_dir']))}")
    return words + changed_settings.overrides(job)


def _same_run(job: Mapping[str, Any], run: Mapping[str, Any], folder: Path) -> list[str]:
    words = [f"run_id={changed_settings.value(str(run['run_id']))}"]
    if _is_member(run, folder):
        words.append(f"hydra.run.dir={changed_settings.value(where(job, run, folder))}")
    elif str(job.get("name")) == folder.parent.name and folder.parent.name != Path(str(job["trainer"])).stem:
        words.append(f"name={changed_settings.value(folder.parent.name)}")
    return words
