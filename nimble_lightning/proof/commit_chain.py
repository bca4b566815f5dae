"""The commits of a run as its manifests tell them: each names the digest of the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nimble_lightning.checkpoint.integrity import manifests_of, read_manifest
from nimble_lightning.checkpoint.manifest import FileRecord, Manifest
from nimble_lightning.checkpoint.resolver import candidates
from nimble_lightning.errors import CheckpointError
from nimble_lightning.ops import plain_files
from nimble_lightning.run_folder import CHECKPOINTS, STEPS


def commits(folder: Path) -> dict[str, Manifest]:
    """The manifest of each checkpoint under `checkpoints/`, by the checkpoint's path, oldest first."""
    found = {}
    place = folder / CHECKPOINTS
    for path in candidates(place) if plain_files.is_inside(folder, place) else ():
        places = manifests_of(path)
        if places:
            found[path.relative_to(folder).as_posix()] = read_manifest(places[0])
    return dict(sorted(found.items(), key=lambda item: (item[1].created, item[1].step, item[0])))


def told(manifests: Mapping[str, Manifest]) -> list[dict[str, Any]]:
    """The chain as a statement tells it."""
    return [
        {
            "name": name,
            "step": manifest.step,
            "epoch": manifest.epoch,
            "attempt": manifest.attempt,
            "threads": manifest.threads,
            "manifest": manifest.digest,
            "parent": manifest.parent,
        }
        for name, manifest in manifests.items()
    ]


def newest_step(manifests: Mapping[str, Manifest]) -> int:
    """The step up to which the run can be continued."""
    return max(
        (manifest.step for name, manifest in manifests.items() if name.startswith(f"{STEPS}/")), default=0
    )


def problems(
    folder: Path, claimed: Sequence[Mapping[str, Any]], run_id: str, subjects: Mapping[str, FileRecord]
) -> list[tuple[str, str]]:
    """What does not hold between the manifests in the folder and the chain in the statement."""
    try:
        present = commits(folder)
    except (CheckpointError, OSError) as error:
        return [("checkpoints", f"the chain cannot be read: {error}")]
    found: list[tuple[str, str]] = []
    stated = {str(entry.get("name")): entry for entry in claimed}
    for name in stated.keys() - present.keys():
        found.append((name, "is in the chain, but its manifest is missing"))
    for name in present.keys() - stated.keys():
        found.append((name, "is a checkpoint of which the chain says nothing"))
    for name in stated.keys() & present.keys():
        reason = _mismatch(stated[name], present[name], run_id) or _vouched(name, present[name], subjects)
        if reason:
            found.append((name, reason))
    return found + _broken_links(present)


def _mismatch(entry: Mapping[str, Any], manifest: Manifest, run_id: str) -> str:
    if manifest.run_id is not None and manifest.run_id != run_id:
        return f"belongs to run {manifest.run_id!r}, not {run_id!r}"
    if manifest.step != entry.get("step"):
        return f"is of step {manifest.step}, the chain says {entry.get('step')}"
    if manifest.digest != entry.get("manifest"):
        return "has another manifest than the chain says"
    return ""


def files_of(name: str, manifest: Manifest) -> dict[str, FileRecord]:
    """The files of a checkpoint by their paths in the run folder: itself, or what is in its folder."""
    single = set(manifest.files) == {manifest.name}
    return {name if single else f"{name}/{file}": record for file, record in manifest.files.items()}


def _vouched(name: str, manifest: Manifest, subjects: Mapping[str, FileRecord]) -> str:
    """Manifest and statement have to say the same of every file."""
    for path, record in files_of(name, manifest).items():
        if subjects.get(path) != record:
            return f"its manifest and the statement disagree about {path}"
    return ""


def _broken_links(present: Mapping[str, Manifest]) -> list[tuple[str, str]]:
    by_digest = {manifest.digest: (name, manifest) for name, manifest in present.items()}
    found = []
    for name, manifest in present.items():
        parent = by_digest.get(manifest.parent or "")
        if parent is not None and parent[1].step > manifest.step:
            found.append((name, f"step {manifest.step} comes after {parent[0]} of step {parent[1].step}"))
    return found
