"""From the configuration to Lightning's objects: module, data, callbacks, loggers and Trainer."""

from __future__ import annotations

import inspect
import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar, StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.utilities.model_helpers import is_overridden

from nimble_lightning.adapters import NimbleData, NimbleModule, UserTrainer
from nimble_lightning.adapters.fast_paths import ThinProfiler
from nimble_lightning.adapters.load_trainer import datamodule_beside, load, parameters_for, require_known
from nimble_lightning.checkpoint import AsyncNimbleCheckpointIO, NimbleCheckpointIO, commit_shards
from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.ops.lightning_packages import either
from nimble_lightning.ops.strategy_traits import traits_of
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.request.setting_blocks import blocks
from nimble_lightning.settings import CheckpointSettings, RunSettings

log = logging.getLogger(__name__)


@dataclass
class Parts:
    """What is trained: two Lightning objects, and the user's trainer where there is one."""

    module: L.LightningModule
    data: L.LightningDataModule | None
    user: UserTrainer | None = None

    def define(self, step: str, loader: str) -> bool:
        """Whether module and data override Lightning's methods of these names."""
        source = self.module if self.data is None else self.data
        return is_overridden(step, self.module) and is_overridden(loader, source)


def build_parts(settings: RunSettings, context: Mapping[str, Any], target: Any = None) -> Parts:
    """Load what `trainer=` names and adapt it, whichever kind it is."""
    target = load(str(settings.trainer)) if target is None else target
    params = dict(settings.params)
    lightning = isinstance(target, type) and issubclass(target, L.LightningModule)
    if isinstance(target, type) and issubclass(target, either("LightningModule")) and not lightning:
        raise RequestError(
            f"{target.__name__} is a LightningModule of pytorch_lightning, a copy of lightning.pytorch.\n"
            "Import it from lightning.pytorch, or run its file: trainer=FILE.py, where both names are one."
        )
    if settings.log.grad_norm and (lightning or inspect.isfunction(target)):
        raise RequestError(
            "log.grad_norm=true is for trainers of four methods. Let the LightningModule log it in "
            "on_before_optimizer_step."
        )
    epochs = settings.lightning.get("max_epochs")
    if (lightning or inspect.isfunction(target)) and isinstance(epochs, float) and not epochs.is_integer():
        raise RequestError(
            f"lightning.max_epochs={epochs}: a LightningModule is trained for whole epochs. Type "
            "lightning.max_steps=N."
        )
    if lightning or inspect.isfunction(target):
        # Networks, optimizers and the like, as projects configured by Hydra have them.
        params = {name: made(value) if _describes(value) else value for name, value in params.items()}
    if isinstance(target, type) and issubclass(target, L.LightningModule):
        beside = datamodule_beside(target, settings.datamodule)
        require_known(params, target, *([beside] if beside else []))
        data = None if beside is None else beside(**parameters_for(beside, params))
        return Parts(target(**parameters_for(target, params)), data)
    if inspect.isfunction(target):
        return _from_function(target, params)
    user = UserTrainer(target, params, context)
    return Parts(NimbleModule(user, settings), NimbleData(user, settings), user)


def data_of(user: UserTrainer, settings: RunSettings) -> L.LightningDataModule | None:
    """The data for a LightningModule that `train` returned: what `pre_process` left, or the module's own."""
    given = user.get("datamodule", "data_module")
    if isinstance(given, L.LightningDataModule):
        return given
    data = NimbleData(user, settings)
    return data if data.has_train_data else None


def build_trainer(
    settings: RunSettings, folder: RunFolder, extra: list[L.Callback], attempt: int = 1
) -> L.Trainer:
    """The Trainer: everything under `lightning` as it stands, ours around it."""
    options = {name: made(value) for name, value in settings.lightning.items()}
    if isinstance(epochs := options.get("max_epochs"), float):
        # The step at which a fraction ends our adapters know.
        options["max_epochs"] = math.ceil(epochs)
    # However many machines were asked for: so many have come.
    options["num_nodes"] = int(os.environ.get("GROUP_WORLD_SIZE", options.get("num_nodes", 1)))
    callbacks = [made(block) for block in blocks(settings.callbacks.blocks)]
    callbacks += [*extra, *_as_list(options.pop("callbacks", None))]
    # Without `callbacks.progress` there is none: Lightning would put its own in the place.
    options.setdefault("enable_progress_bar", any(isinstance(each, ProgressBar) for each in callbacks))
    loggers = [made(block, **_run_facts(block, folder, attempt)) for block in blocks(settings.logger)]
    try:
        trainer = L.Trainer(
            default_root_dir=str(folder.path),
            callbacks=callbacks,
            logger=options.pop("logger", loggers),
            profiler=options.pop("profiler", None) or ThinProfiler(),
            plugins=with_checkpoint_io(
                _as_list(options.pop("plugins", None)), settings.checkpoints, folder.checkpoints
            ),
            use_distributed_sampler=options.pop("use_distributed_sampler", False),
            **options,
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise RequestError(f"lightning.Trainer refuses its arguments: {error}") from error
    refuse_average_of_parts(trainer)
    commit_shards(trainer.strategy)
    return trainer


def refuse_average_of_parts(trainer: L.Trainer) -> None:
    """Averages are of whole weights, which a strategy that cuts them up does not have."""
    averages = [each for each in trainer.callbacks if isinstance(each, WeightAveraging)]  # type: ignore[attr-defined]
    if averages and traits_of(trainer.strategy).sharded:
        raise RequestError(
            f"{type(averages[0]).__name__} averages whole weights, and the strategy cuts them up.\n"
            "Leave callbacks.ema out, or choose strategy=ddp."
        )


def refuse_late_average(trainer: L.Trainer, *, ours: bool) -> None:
    """An average that is made when training is over is none of the weights a run evaluates and keeps.

    Args:
        trainer: With the callbacks of the run.
        ours: Whether a trainer of four methods is trained, whose module this callback cannot copy.
    """
    late = any(isinstance(each, StochasticWeightAveraging) for each in trainer.callbacks)  # type: ignore[attr-defined]
    if late and ours:
        raise RequestError(
            "StochasticWeightAveraging is for LightningModules. Type callbacks.ema=true, whose average is "
            "evaluated and saved all along."
        )
    if late and trainer.checkpoint_callback is not None:
        log.warning(
            "StochasticWeightAveraging averages when training is over, and the best weights are from before "
            "that: callbacks.best_checkpoint=null keeps the average, callbacks.ema=true averages all along"
        )


def with_checkpoint_io(plugins: list[Any], settings: CheckpointSettings, folder: Path) -> list[Any]:
    """The user's plugins, and ours for the checkpoints in this folder unless one of theirs is for that."""
    if any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        return plugins
    ours = NimbleCheckpointIO(frozen_folder=folder)
    return [*plugins, AsyncNimbleCheckpointIO(ours) if settings.asynchronous else ours]


def made(value: Any, **more: Any) -> Any:
    """A setting as it is, or the object that its `_target_` describes."""
    if not isinstance(value, Mapping | list):
        return value
    try:
        return instantiate(value, **more, _convert_="object")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, NimbleError):
            raise cause from None
        raise RequestError(f"{type(cause).__name__}: {cause}".partition("\n")[0]) from error


def _describes(value: Any) -> bool:
    """Whether an object is meant, and not the settings themselves."""
    return isinstance(value, Mapping) and "_target_" in value


def _run_facts(block: Mapping[str, Any], folder: RunFolder, attempt: int) -> dict[str, Any]:
    """Loggers that take a folder or the number of the attempt, and were given none, get the run's."""
    takes = inspect.signature(get_class(block["_target_"])).parameters
    facts = {"save_dir": str(folder.path), "attempt": attempt}
    return {name: value for name, value in facts.items() if name in takes and block.get(name) is None}


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _from_function(function: Any, params: dict[str, Any]) -> Parts:
    require_known(params, function)
    made = function(**parameters_for(function, params))
    module, data = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, L.LightningModule):
        raise RequestError(
            f"{function.__name__}() returned {type(made).__name__}; expected a LightningModule, or (module, "
            "datamodule)."
        )
    return Parts(module, data)
