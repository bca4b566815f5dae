"""The record of a run in its statement, gathered from the files of its folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nimble_lightning.checkpoint.manifest import Manifest
from nimble_lightning.ops import plain_files
from nimble_lightning.proof import commit_chain
from nimble_lightning.proof.statement import SCHEMA
from nimble_lightning.run_folder import JOB, PROVENANCE, RECORD, USAGE


def predicate_of(folder: Path, manifests: Mapping[str, Manifest]) -> dict[str, Any]:
    """Everything that is known about the run in `folder`."""
    run, config = _record(folder, RECORD), _config(folder)
    recorded = _record(folder, PROVENANCE)
    return {
        "schema": SCHEMA,
        "run_id": run.get("run_id") or str(config.get("run_id", folder.name)),
        "name": config.get("name"),
        "status": run.get("status"),
        "attempts": run.get("attempts", []),
        "step": commit_chain.newest_step(manifests) or int(run.get("metrics", {}).get("global_step", 0)),
        "config": config,
        **{part: recorded.get(part) for part in ("code", "data", "environment", "hardware", "earlier")},
        "seeds": {"seed": config.get("seed")},
        "metrics": run.get("metrics", {}),
        "verdict": run.get("verdict"),
        "usage": _record(folder, USAGE) or None,
        "versions": run.get("versions", {}),
        "best_checkpoint": _relative(run.get("best_checkpoint"), folder),
        "checkpoints": commit_chain.told(manifests),
        "signed": time.time(),
    }


def run_of(folder: Path) -> str | None:
    """Which run a folder says it holds."""
    found = _record(folder, RECORD).get("run_id")
    return None if found is None else str(found)


def _record(folder: Path, name: str) -> dict[str, Any]:
    """A file of JSON; empty where there is none that can be read."""
    found = plain_files.read_json(folder, name)
    return found if isinstance(found, dict) else {}


def _config(folder: Path) -> dict[str, Any]:
    """What was asked, with references left as they are: what they stand for may be a secret."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(folder / JOB), resolve=False)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):
        return {}
    return content if isinstance(content, dict) else {}  # type: ignore[return-value]


def _relative(path: str | None, folder: Path) -> str | None:
    if path is None:
        return None
    place = Path(path)
    return place.relative_to(folder).as_posix() if place.is_relative_to(folder) else place.name
