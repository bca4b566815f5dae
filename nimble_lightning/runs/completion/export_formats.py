"""Where exports of a run lie, and which are asked for."""

from __future__ import annotations

from pathlib import Path

from nimble_lightning.export import metadata


def folder_for(out: Path, name: str, count: int) -> Path:
    """The folder of one model of several; a model alone has the whole."""
    return out if count == 1 else out / name


def exported_in(folder: Path) -> list[Path]:
    """The folders below in which a model was exported."""
    return [
        path.parent for path in sorted([*folder.glob(metadata.ABOUT), *folder.glob(f"*/{metadata.ABOUT}")])
    ]


def is_whole(folder: Path) -> bool:
    """Whether there are exports, and all of their files are what they were when they were checked."""
    found = exported_in(folder)
    return bool(found) and not any(metadata.altered(one) for one in found)
