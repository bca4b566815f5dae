"""What a run came from besides its data: code, environment, hardware."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path
from typing import Any

from nimble_lightning.proof.digests import digest_of

_GIT_SECONDS = 20
_MOST_MODULES = 1000


def code(trainer: str) -> dict[str, Any]:
    """The trainer's file, its neighbours that were imported, and the state of the repository around them.

    Args:
        trainer: `/absolute/file.py:Class` or `package.module:Class`.
    """
    path = file_of(trainer)
    if path is None:
        return {"trainer": {"name": trainer, "sha256": None}, "modules": {}, "git": None}
    return {
        "trainer": {"name": path.name, "sha256": digest_of(path).sha256},
        "modules": _neighbours(path),
        "git": _git(path.parent),
    }


def file_of(trainer: str) -> Path | None:
    """The file that holds a trainer; None for one without, such as a class typed into a notebook."""
    place = trainer.rpartition(":")[0] or trainer
    if place.endswith(".py"):
        path = Path(place).resolve()
        return path if path.is_file() else None
    try:
        found = util.find_spec(place)
    except (ImportError, ValueError):
        return None
    return Path(found.origin) if found and found.origin and os.path.isfile(found.origin) else None


def moved(trainer: str, file: str) -> str:
    """The same trainer where its file is elsewhere now; a class that is named with it is taken."""
    if not file.endswith(".py"):
        return file
    _, found, name = trainer.rpartition(".py:")
    return f"{Path(file).expanduser().resolve()}{':' + name if found else ''}"


def environment() -> dict[str, Any]:
    """Every installed package by its version, and one digest over them all."""
    names = {d.name: d.version for d in metadata.distributions() if d.metadata is not None and d.name}
    packages = dict(sorted(names.items(), key=lambda item: item[0].lower()))
    lock = "".join(f"{name}=={version}\n" for name, version in packages.items())
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "sha256": hashlib.sha256(lock.encode()).hexdigest(),
    }


def hardware(device: str, world_size: int, deterministic: bool) -> dict[str, Any]:
    """What the bits of a run depend on.

    Args:
        device: Type of the device that trains: cpu, cuda, ...
        world_size: How many processes train together.
        deterministic: Whether torch was asked for algorithms that repeat themselves.
    """
    import torch

    names = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if device == "cuda" else []
    )
    return {
        "device": device,
        "devices": names,
        "cpu": _cpu(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "world_size": world_size,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "deterministic": deterministic,
    }


def same_class(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two machines are expected to compute the same bits."""
    if "cpu" in (one.get("device"), other.get("device")):
        fields = ["device", "cpu", "capability", "machine", "torch", "world_size"]
    else:
        fields = ["device", "devices", "torch", "cuda", "world_size", "deterministic"]
    repeats = one.get("device") == "cpu" or bool(one.get("deterministic"))
    return repeats and all(one.get(field) == other.get(field) for field in fields)


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(
                (line.partition(":")[2].strip() for line in file if line.startswith("model name")), ""
            )
    except OSError:
        return platform.processor()


def _neighbours(path: Path) -> dict[str, str]:
    """Modules from the trainer's own folder, by their digests."""
    folder = path.parent
    found: dict[str, str] = {}
    for module in list(sys.modules.values())[: _MOST_MODULES * 20]:
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.startswith(f"{folder}{os.sep}") or "site-packages" in file:
            continue
        if Path(file) != path and len(found) < _MOST_MODULES and os.path.isfile(file):
            found[Path(file).relative_to(folder).as_posix()] = digest_of(Path(file)).sha256
    return dict(sorted(found.items()))


def _git(folder: Path) -> dict[str, Any] | None:
    """Commit and digest of what differs from it; None outside of a repository."""
    commit = _run_git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    status = _run_git(folder, "status", "--porcelain", "--untracked-files=normal")
    diff = _run_git(folder, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv")
    return {
        "commit": commit.decode().strip(),
        "dirty": None if status is None else bool(status.strip()),
        "diff_sha256": hashlib.sha256(diff).hexdigest() if diff else None,
    }


def _run_git(folder: Path, *words: str) -> bytes | None:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            env=environment,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
