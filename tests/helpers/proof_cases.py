"""A run folder as a run leaves it, made in a moment; and every way to meddle with one."""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path

from nimble_lightning.checkpoint.manifest import FileRecord, Manifest
from nimble_lightning.proof import Ed25519, generate, sign

STEPS = "checkpoints/steps"
FILES = {
    "config.yaml": "seed: 0\n",
    "log.txt": "epoch 1\n",
    "metrics.jsonl": '{"step": 1}\n',
    "finished.json": "{}\n",
    "provenance.json": '{"code": {"trainer": {"name": "my.py", "sha256": "00"}}}\n',
    "usage.json": '{"wall_seconds": 3}\n',
    "report.html": "<html>97 %</html>\n",
    "show/01.txt": "a picture\n",
    "show/index.json": "[]\n",
    "best/model.safetensors": "weights to give away\n",
    "errors/attempt-1.rank-0.json": '{"type": "OSError"}\n',
    "usage/attempt-1.rank-0.json": "{}\n",
    "gpu.jsonl": "{}\n",
}


def make_run(folder: Path, run_id: str = "first", steps: tuple[int, ...] = (10, 20)) -> Path:
    """A finished run with its records, and checkpoints that point back at each other."""
    for name, text in FILES.items():
        write(folder / name, f"{text}{run_id if name == 'log.txt' else ''}")
    write(folder / "job.yaml", f"run_id: {run_id}\nseed: 0\ntrainer: /old/place/my.py:My\n")
    best = str(folder / "checkpoints/best/best-1.ckpt")
    record = {
        "run_id": run_id,
        "status": "finished",
        "attempts": [{"number": 1}],
        "metrics": {"a": 1.0},
        "best_checkpoint": best,
    }
    write(folder / "run.json", json.dumps(record))
    write(folder / "outbox/events.jsonl", "{}\n")
    write(folder / "run.lock", "")
    write(folder / "member.json", "{}")
    parent = None
    for number, step in enumerate(steps):
        parent = commit(folder / STEPS / f"step-{step:08d}.ckpt", run_id, step, parent, float(number))
    commit(folder / "checkpoints/best/best-1.ckpt", run_id, steps[-1], parent, float(len(steps)))
    return folder


def commit(path: Path, run_id: str, step: int, parent: str | None, created: float) -> str:
    content = f"weights of {run_id} at {step} in {path.name}".encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    manifest = manifest_of(path.name, {path.name: content}, run_id, step, parent, created)
    path.with_name(f"{path.name}.manifest.json").write_bytes(manifest.dump())
    return manifest.digest


def commit_folder(path: Path, run_id: str, step: int) -> Path:
    """A checkpoint of several files, its manifest among them."""
    shards = {name: f"{name} at {step}".encode() for name in ("a.distcp", "b.distcp")}
    path.mkdir(parents=True)
    for name, content in shards.items():
        (path / name).write_bytes(content)
    (path / "manifest.json").write_bytes(manifest_of(path.name, shards, run_id, step, None, 99.0).dump())
    return path


def manifest_of(
    name: str, files: dict[str, bytes], run_id: str, step: int, parent: str | None, created: float
) -> Manifest:
    records = {file: FileRecord(len(c), sha256(c).hexdigest()) for file, c in files.items()}
    return Manifest(
        name=name,
        files=records,
        run_id=run_id,
        step=step,
        samples=None,
        epoch=0,
        attempt=1,
        parent=parent,
        versions={},
        threads=1,
        device="cpu",
        created=created,
    )


def make_key(folder: Path, name: str = "key") -> tuple[str, str]:
    """Paths of the two halves."""
    public = generate(folder / f"{name}.pem")
    return str(folder / f"{name}.pem"), str(public)


def sign_with(folder: Path, private: str) -> None:
    sign(folder, Ed25519(private).unlock())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def swap(path: Path, other: Path) -> None:
    aside = path.with_name("aside")
    os.rename(path, aside)
    os.rename(other, path)
    os.rename(aside, other)


def copy(folder: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    return Path(shutil.copytree(folder, place))
