"""Weights that are not trained: in one file for a whole run, which its checkpoints name by digest.

A checkpoint of an adapter holds the adapter and not the model under it. Whoever loads it gets all weights.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor, nn

from nimble_lightning.checkpoint.atomic_files import flush, replace
from nimble_lightning.checkpoint.file_names import temporary_path
from nimble_lightning.checkpoint.hash_file import HashingFile, hash_plain, write_hashed
from nimble_lightning.errors import CheckpointError
from nimble_lightning.ops.plain_files import open_plain

# In `checkpoint["nimble"]`: the names of such weights, and once they are written, where they are.
KEY = "frozen"
# Fewer bytes stay in each checkpoint, which is then complete by itself.
_LEAST = 1 << 20
_NAME = re.compile(r"frozen-([0-9a-f]{64})\.pt")
# Checkpoints that are kept to be trained again lie deepest in the folder of a run's checkpoints.
_ABOVE = 3
_PRIME = 1_000_003


def names_of(module: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """The weights in a state that nothing trains; none where they are too few to matter."""
    frozen = {
        name: parameter
        for name, parameter in module.named_parameters(remove_duplicate=False)
        if not parameter.requires_grad and isinstance(state.get(name), Tensor)
    }
    return list(frozen) if sum(p.nbytes for p in frozen.values()) >= _LEAST else []


class FrozenWeights:
    """Takes what is not trained out of the checkpoints of a run.

    Weights that nothing trains may change all the same, as those of a teacher do that follows its student:
    from the save on that notices, each checkpoint holds them.

    Args:
        folder: Where the file is kept; only checkpoints in folders of it are made smaller.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: str | None = None
        self._seen: dict[str, int] = {}

    def know(self, checkpoint: Mapping[str, Any]) -> None:
        """Remember where the weights of a loaded checkpoint are, so that they are not written again."""
        kept = checkpoint.get("nimble", {}).get(KEY)
        if isinstance(kept, Mapping) and (self._folder / kept["file"]).is_file():
            self._file = kept["file"]
            self._seen = {name: _sum_of_bits(checkpoint["state_dict"][name]) for name in kept["names"]}

    def without(self, checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
        """What to save at the path; the weights it lacks are on the disk when this returns."""
        marked = checkpoint.get("nimble", {}).get(KEY)
        if not isinstance(marked, list) or path.parent.parent != self._folder:
            return checkpoint
        state = checkpoint["state_dict"]
        if self._file is None:
            self._file = self._written({name: state[name] for name in marked})
            self._seen = {name: _sum_of_bits(state[name]) for name in marked}
        same = {name for name in marked if self._seen.get(name) == _sum_of_bits(state[name])}
        self._seen = {name: bits for name, bits in self._seen.items() if name in same}
        kept = type(state)((name, value) for name, value in state.items() if name not in same)
        kept.__dict__.update(getattr(state, "__dict__", {}))
        reference = {"file": self._file, "names": sorted(same)}
        return {**checkpoint, "state_dict": kept, "nimble": {**checkpoint["nimble"], KEY: reference}}

    def _written(self, state: Mapping[str, Tensor]) -> str:
        waiting = temporary_path(self._folder / "frozen")
        waiting.unlink(missing_ok=True)

        def write(file: HashingFile) -> None:
            torch.save({name: tensor.detach().cpu() for name, tensor in state.items()}, cast(BinaryIO, file))
            file.check()

        try:
            name = f"frozen-{write_hashed(waiting, write).sha256}.pt"
            replace(waiting, self._folder / name)
        except BaseException:
            with suppress(OSError):
                waiting.unlink()
            raise
        flush(self._folder)
        return name


def complete(checkpoint: dict[str, Any], path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """A checkpoint with all its weights, those of the file it names once that has shown to be the one.

    Args:
        checkpoint: As it was read.
        path: From where.
        map_location: As for `torch.load`.
    """
    kept = checkpoint.get("nimble", {}).get(KEY) if isinstance(checkpoint.get("nimble"), Mapping) else None
    if not isinstance(kept, Mapping) or not kept["names"]:
        return checkpoint
    match = _NAME.fullmatch(kept["file"])
    if match is None:
        raise CheckpointError(f"Checkpoint {path} names {kept['file']!r} for the weights it does not hold.")
    weights = _read(path, kept["file"], match[1], map_location)
    state = checkpoint["state_dict"]
    state.update((name, weights[name]) for name in kept["names"])
    return checkpoint


def _read(path: Path, name: str, digest: str, map_location: Any) -> Mapping[str, Tensor]:
    file = next((f / name for f in path.parents[:_ABOVE] if os.path.lexists(f / name)), None)
    if file is None:
        raise CheckpointError(
            f"Checkpoint {path} holds only what was trained. The other weights are in {name}: copy that "
            "from the folder checkpoints/ of the run it is from, beside it."
        )
    with open_plain(file) as opened:
        if hash_plain(opened.fileno()) != digest:
            raise CheckpointError(f"{file} was changed: its digest is not in its name any more.")
        source = f"/proc/self/fd/{opened.fileno()}"
        mapped = os.path.exists(source)
        found: Mapping[str, Tensor] = torch.load(
            source if mapped else opened, map_location=map_location, weights_only=True, mmap=mapped
        )
        return found


def _sum_of_bits(tensor: Tensor) -> int:
    """The same for the same bits in the same places; reads the weights once and copies nothing."""
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    whole = flat[: flat.numel() // 4 * 4].view(torch.int32)
    rows = whole[: whole.numel() // 1024 * 1024].view(-1, 1024).sum(1, dtype=torch.int64)
    place = torch.arange(1, rows.numel() + 1, device=rows.device)
    rest = flat[rows.numel() * 4096 :].to(torch.int64)
    place_of_rest = torch.arange(1, rest.numel() + 1, device=rest.device)
    return int((rows * place).sum() * _PRIME + (rest * place_of_rest).sum())
