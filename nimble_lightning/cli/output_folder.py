"""Where a run goes, decided once by the command and tried before anything is started."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from omegaconf import DictConfig

from nimble_lightning.cli.arguments import Request, quote
from nimble_lightning.cli.request_plan import RequestPlan
from nimble_lightning.cli.schema.sections import launch_of
from nimble_lightning.errors import RequestError
from nimble_lightning.settings import Multinode


def place(plan: RequestPlan, request: Request) -> list[str]:
    """Overrides that fix the run's name, id and folder, so that every process of it sees the same.

    Raises:
        RequestError: A name that cannot be a folder's, or a folder that cannot be written.
    """
    # Torch-free, and the one place that knows what an id looks like.
    from nimble_lightning.runs.job import new_run_id, run_id_of

    config = plan.config
    asked = "sweep_id" if request.multirun and config.get("sweep_id") is not None else "run_id"
    _check_nodes(request, config)
    run_id = folder_name(config, asked) or (new_run_id() if request.multirun else run_id_of(config))
    names = {source.trainer.name for source in plan.sources}
    name = folder_name(config, "name") or (names.pop() if len(names) == 1 else "sweep")
    check_writable(Path(str(config.output_dir)))
    if not request.multirun:
        return [f"++run_id={quote(run_id)}", f"++name={quote(name)}"]
    if request.values("hydra.sweep.dir"):
        return []
    folder = Path(str(config.output_dir)).absolute() / name / run_id
    return [f"hydra.sweep.dir={quote(str(folder))}"]


def _check_nodes(request: Request, config: DictConfig) -> None:
    """A sweep is many runs, and each of them would wait for nodes of its own."""
    if request.multirun and isinstance(launch_of(config), Multinode):
        raise RequestError(
            "launch=multinode is one run on several nodes; -m asks for many\n"
            "Start a sweep on each node by itself, or use launch=slurm"
        )


def folder_name(config: DictConfig, key: str) -> str | None:
    """The value of a key that names a folder, or None when it is left open."""
    value = config.get(key)
    if value is not None and not re.fullmatch(r"\w[\w.+@=-]*", str(value)):
        raise RequestError(
            f"{key}={value} cannot be the name of a folder\nUse letters, digits and . _ - + @ ="
        )
    return None if value is None else str(value)


def check_writable(folder: Path) -> None:
    """Write and remove a file where the folder is, or where it would have to be made."""
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        handle, name = tempfile.mkstemp(prefix=".nimble-", dir=existing)
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        raise RequestError(
            f"output_dir={folder} cannot be written: {existing}: {error.strerror}\n"
            "Choose another: output_dir=FOLDER"
        ) from None
