"""Earlier weights of the same kind of model: a run, a checkpoint, a file of safetensors."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nimble_lightning.adapters import UserTrainer
from nimble_lightning.adapters.source import load as load_trainer
from nimble_lightning.checkpoint import verify
from nimble_lightning.checkpoint.whole import open_verified
from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.validators.run import Run

_RECORD = "run.json"
_JOB = "job.yaml"


def require(place: Path) -> None:
    """Refuse what holds no weights, or a checkpoint that is not whole."""
    _weights_file(place)


def load(place: Path, run: Run) -> Mapping[str, nn.Module]:
    """Modules with these weights: copies of the run's own, or made as the other run made them."""
    state = _state(_weights_file(place))
    try:
        return _filled(run.modules, state)
    except RuntimeError as error:
        if not (place / _JOB).is_file() or run.user is None:
            reason = str(error).splitlines()[-1].strip()
            raise RequestError(f"The weights in {place} do not fit the trained model: {reason}") from None
    return _filled(_as_made_by(place), state)


def _weights_file(place: Path) -> Path:
    """The file that counts: of a run its best checkpoint, of a folder its safetensors."""
    file = place
    if (place / _RECORD).is_file():
        file = _best_of(place)
    elif place.is_dir():
        found = sorted(place.glob("*.safetensors"))
        if len(found) != 1:
            raise RequestError(
                f"{place} is no run and no model: there is no {_RECORD}, no config.json, and not one file of "
                "safetensors."
            )
        file = found[0]
    if file.suffix == ".safetensors":
        return file
    try:
        verify(file)
    except CheckpointError as error:
        raise RequestError(f"The reference {place} cannot be used: {error}") from None
    return file


def _best_of(folder: Path) -> Path:
    record: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    best = record.get("best_checkpoint")
    if not best:
        raise RequestError(f"The run {folder} has no best checkpoint (it is {record.get('status')}).")
    # A run folder may have been moved since.
    moved = folder / "checkpoints" / "best" / Path(best).name
    return Path(best) if Path(best).exists() else moved


def _state(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    if file.is_dir():
        raise RequestError(f"{file} is sharded; give weights in one file, such as an export of that run.")
    with open_verified(file) as (whole, _):
        content = torch.load(whole, map_location="cpu", weights_only=True)
    return content["state_dict"]  # type: ignore[no-any-return]


def _filled(modules: Mapping[str, nn.Module], state: Mapping[str, Tensor]) -> dict[str, nn.Module]:
    """Copies of modules with a state whose keys begin with their names; of a single one they may not."""
    named = all(key.partition(".")[0] in modules for key in state)
    filled = {}
    for name, module in modules.items():
        prefix = f"{name}." if name and named else ""
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        filled[name] = copy.deepcopy(module)
        filled[name].load_state_dict(own)
    return filled


def _as_made_by(folder: Path) -> dict[str, nn.Module]:
    """The untrained modules of another run, whose parameters may have been others."""
    from omegaconf import OmegaConf

    job: Any = OmegaConf.load(folder / _JOB)
    params: Any = OmegaConf.to_container(job.params, resolve=True)
    other = UserTrainer(load_trainer(job.trainer), params)
    other.prepare()
    return other.modules()
