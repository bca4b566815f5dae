"""Earlier weights of the same kind of model: a run, a checkpoint, a file of safetensors."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from nimble_lightning.adapters import UserTrainer
from nimble_lightning.checkpoint import verify
from nimble_lightning.checkpoint.frozen_weights import complete
from nimble_lightning.checkpoint.integrity import open_verified
from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.ops import plain_files, yaml_files
from nimble_lightning.run_folder import BEST, JOB, RECORD, STEPS
from nimble_lightning.validators.evaluated_run import Run


def require(place: Path) -> None:
    """Refuse what holds no weights, or a checkpoint that is not whole."""
    _weights_file(place)


def load(place: Path, run: Run) -> Mapping[str, nn.Module]:
    """Modules with these weights: copies of the run's own, or made as the other run made them."""
    state = _state(_weights_file(place))
    try:
        return _filled(run.modules, state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
    if (place / RECORD).is_file() and run.user is not None:
        with suppress(RuntimeError):
            return _filled(_with_settings_of(place, run.user), state)
    raise RequestError(f"The weights in {place} do not fit the trained model: {reason}")


def _weights_file(place: Path) -> Path:
    """The file that counts: of a run its best checkpoint, of a folder its safetensors."""
    file = place
    if (place / RECORD).is_file():
        file = _best_of(place)
    elif place.is_dir():
        found = sorted(place.glob("*.safetensors"))
        if len(found) != 1:
            raise RequestError(
                f"{place} is no run and no model: there is no {RECORD}, no config.json, and not one file of "
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
    record = plain_files.read_json(folder, RECORD)
    record = record if isinstance(record, dict) else {}
    if not isinstance(best := record.get("best_checkpoint"), str):
        raise RequestError(f"The run {folder} has no best checkpoint (it is {record.get('status')}).")
    # Wherever the run says it is: it may have been moved since, and is in the run's folder.
    there = (folder / place / Path(best).name for place in (BEST, STEPS))
    found = next((file for file in there if plain_files.is_inside(folder, file)), None)
    if found is None:
        raise RequestError(f"The run {folder} has lost its best checkpoint, {Path(best).name}.")
    return found


def _state(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    if file.is_dir():
        raise RequestError(f"{file} is sharded; give weights in one file, such as an export of that run.")
    with open_verified(file) as (whole, _):
        content = complete(torch.load(whole, map_location="cpu", weights_only=True), file)
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


def _with_settings_of(folder: Path, user: UserTrainer) -> dict[str, nn.Module]:
    """What this run's trainer makes with the parameters of another one, whose own code is not run."""
    try:
        job = yaml_files.load(plain_files.read(folder, JOB).decode())
    except (OSError, ValueError) as error:
        raise RequestError(f"The settings of the reference {folder} cannot be read: {error}") from None
    params = (job.get("params") if isinstance(job, dict) else None) or {}
    if not isinstance(params, dict) or (more := yaml_files.first_of_more(params, "params")) is not None:
        what = more if isinstance(params, dict) else "params"
        raise RequestError(f"{what} of the reference {folder} is no plain value. Load it in baseline(self).")
    other = UserTrainer(type(user.object), params)
    other.prepare()
    return other.modules()
