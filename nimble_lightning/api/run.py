"""`nl.run`: the command, as a function."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from nimble_lightning.errors import RequestError
from nimble_lightning.launch.external import detect
from nimble_lightning.launch.start import start
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.process_environment import IN_WORKER
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.report import shipped_defaults
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.request.setting_blocks import complete_blocks
from nimble_lightning.runs.request.setting_effects import asked_in
from nimble_lightning.runs.result import Result

_RECIPE = "recipe:"
# Sections that may be given as the trainer's parameter of that name: a file, a list of them, a model.
_SHORT = ("data", "model")
# Sections that take more than their files list.
_OPEN = ("params", "lightning", "callbacks", "logger", "validator", "signature")


def run(
    trainer: Any, *, params: Mapping[str, Any] | None = None, check: bool = True, **settings: Any
) -> Result:
    """Train a trainer class, file or object, as the command does.

    Args:
        trainer: A class with the four methods, `"file.py"`, `"file.py:Class"`, `"package.module:Class"`, or a
            recipe, `"recipe:smollm2_135m/sft"`. An object, or a class typed into a notebook, is trained in
            this process, where it cannot be started again.
        params: Keywords for its `pre_process`.
        check: Whether a run that fails or is stopped raises; False: its result says so.
        settings: Any other key of the configuration: `lightning={"max_epochs": 3}`,
            `data={"batch_size": 64}`, `optim="sgd"`. `data` and `model` that are no settings but a name or a
            list are parameters.

    Raises:
        RequestError: It could not be started.
        RunError: It failed or was stopped. In this process, what the trainer raised comes out as it is.

    Example::

        result = nl.run(MyTrainer, params={"lr": 3e-4}, lightning={"max_epochs": 3})
    """
    if os.environ.get(IN_WORKER):
        raise RequestError(
            "nl.run() was reached while a worker was loading this file. Put the call under if __name__ == "
            "'__main__':"
        )
    params = {**(params or {}), **{key: settings.pop(key) for key in _SHORT if _is_short(settings.get(key))}}
    if isinstance(trainer, str) and trainer.startswith(_RECIPE):
        settings["recipe"] = trainer.removeprefix(_RECIPE)
        config = _compose(params, settings)
        trainer = str(config.trainer)
    else:
        config = _compose(params, settings)
    spec = trainer if isinstance(trainer, str) else _spec_of(trainer)
    job = Job.from_config(
        config,
        trainer=_absolute(spec) if spec else type_name(trainer),
        usual={} if isinstance(trainer, str) else _defaults(trainer),
    )
    try:
        result = start(job) if spec is not None else _run_here(job, trainer)
    except RequestError:
        raise
    except Exception as error:  # it ran in this process
        if check:
            raise
        record = {"status": "failed", **read_json(job.folder.run)}
        result = Result.of(job.folder.path, record, f"failed: {error}")
        result.exit_code = ExitCode.FAILED
    return result.check() if check else result


def _run_here(job: Job, trainer: Any) -> Result:
    detect.around("inline")
    if (launch := job.settings.launch.name) not in ("local", "inline"):
        raise RequestError(
            f"launch={launch} needs a class in a file, which processes elsewhere can find; this one is "
            "trained in this process. Put it into a file, or leave launch out"
        )
    # Brings Lightning with it, which a process that only supervises can do without.
    from nimble_lightning.launch.inline import run_inline

    return run_inline(job, trainer)


def type_name(trainer: Any) -> str:
    """The name of the class of a trainer, given as an object or as the class."""
    return trainer.__name__ if isinstance(trainer, type) else type(trainer).__name__


def _defaults(trainer: Any) -> dict[str, Any]:
    """Of the keywords of a trainer's `pre_process`, or of a module's `__init__`."""
    prepare = getattr(trainer, "pre_process", trainer)
    parameters = inspect.signature(prepare).parameters.values() if callable(prepare) else ()
    return {p.name: p.default for p in parameters if isinstance(p.default, bool | int | float | str | None)}


def _compose(params: dict[str, Any], settings: Mapping[str, Any]) -> DictConfig:
    values = dict(settings)
    choices = [
        f"{group}={values.pop(group)}"
        for group, choice in settings.items()
        if isinstance(choice, str) and (shipped_defaults.choices(group) or group == "recipe")
    ]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("nimble_lightning.conf", version_base="1.3"):
            config = compose("config", overrides=choices)
        with ExitStack() as opened:
            for section in _OPEN:
                opened.enter_context(open_dict(config[section]))
            asked = [*(choice.partition("=")[0] for choice in choices), *asked_in(values)]
            merged = OmegaConf.merge(config, OmegaConf.create({**values, "params": params, "asked": asked}))
        complete_blocks(merged)  # type: ignore[arg-type]
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(str(error).splitlines()[0]) from None
    return merged  # type: ignore[return-value]


def _is_short(value: Any) -> bool:
    return isinstance(value, str | Path | list | tuple)


def _spec_of(trainer: Any) -> str | None:
    """Where a worker finds the class again; None where it cannot."""
    if not isinstance(trainer, type) or "." in trainer.__qualname__:
        return None
    main = sys.modules["__main__"]
    path = (
        getattr(main, "__file__", None)
        if trainer.__module__ == "__main__"
        else inspect.getsourcefile(trainer)
    )
    return f"{Path(path).resolve()}:{trainer.__name__}" if path and Path(path).is_file() else None


def _absolute(spec: str) -> str:
    place, _, name = spec.rpartition(":")
    place, name = (place, f":{name}") if place else (spec, "")
    return f"{Path(place).expanduser().resolve()}{name}" if place.endswith(".py") else spec
