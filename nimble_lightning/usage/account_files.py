"""usage.json and emissions.csv: the account as files of the run folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nimble_lightning.ops import plain_files
from nimble_lightning.run_folder import EMISSIONS, USAGE
from nimble_lightning.usage.external_formats import emissions_csv


def save(folder: Path, usage: Mapping[str, Any]) -> None:
    """Write the account; of a run that has ended, its row of emissions.csv as well.

    Raises:
        OSError: It could not be written.
    """
    plain_files.replace(folder / USAGE, f"{json.dumps(usage, indent=2)}\n".encode(), flush=False)
    if usage["final"]:
        plain_files.replace(folder / EMISSIONS, emissions_csv(usage).encode(), flush=False)


def load(path: Path) -> dict[str, Any] | None:
    """The account in a file; None for anything else."""
    content = plain_files.read_json(path.parent, path.name)
    known = isinstance(content, dict) and str(content.get("schema", "")).startswith("nimble_lightning.usage/")
    return content if known else None


def find(places: Iterable[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every account at or below some places, each once."""
    seen = set()
    for place in places:
        files = [place] if place.is_file() else sorted(place.rglob(USAGE))
        for path in files:
            if path.resolve() not in seen and (usage := load(path)) is not None:
                seen.add(path.resolve())
                yield path, usage
