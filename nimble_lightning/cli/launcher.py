"""Hydra's launcher for sweeps here: members side by side, each with devices of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import cast

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from nimble_lightning.cli.sweep_board import Board
from nimble_lightning.cli.task import Outcome, Task


class SideBySide(Launcher):
    """Runs as many members of a sweep at once as `launch.jobs` says; `launch=inline` runs them one by one."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context, self._config = hydra_context, config
        # Hydra hands on whatever its main function was given, which here is a Task.
        self._task = cast(Task, task_function)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        if self._config.launch.name == "inline":
            return self._one_by_one(job_overrides, initial_job_idx)
        setup_globals()
        # Brings torch with it, which only a sweep that really starts has to wait for.
        from nimble_lightning.runtime import sweeping

        configs = {
            number: self._member(words, number) for number, words in enumerate(job_overrides, initial_job_idx)
        }
        work = {number: partial(self._work, config) for number, config in configs.items()}
        folders = {number: _folder(config) for number, config in configs.items()}
        room = sweeping.room(OmegaConf.to_container(self._config, resolve=False), len(work))  # type: ignore[arg-type]
        sweeping.prepare(str(self._config.trainer))
        with Board({number: self._task.varied(config) for number, config in configs.items()}) as board:
            sweep = sweeping.Sweep(Path(str(self._config.hydra.sweep.dir)), room, board)
            answers = sweep.run(work, folders)
        outcomes = {
            n: answer or _lost(n, self._task.varied(configs[n]), folders[n]) for n, answer in answers.items()
        }
        self._task.outcomes += [outcomes[number] for number in sorted(outcomes)]
        if sweep.exit_code is not None:
            raise SystemExit(sweep.exit_code)
        return [self._returned(configs[number], outcomes[number]) for number in configs]

    def _member(self, words: Sequence[str], number: int) -> DictConfig:
        config = self._context.config_loader.load_sweep_config(self._config, list(words))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
            # The terminal is one for all members; what each of them has to say is in its own log.
            config.log.terminal = False
        return config

    def _work(self, config: DictConfig) -> Outcome | None:
        """What a member does, in a process of its own."""
        try:
            done = run_job(
                hydra_context=self._context,
                task_function=self._task,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        except SystemExit:
            # It was asked to stop; its outcome says so.
            done = None
        outcomes = self._task.outcomes
        if done is not None and done.status == JobStatus.FAILED and not outcomes:
            raise done._return_value
        return outcomes[-1] if outcomes else None

    def _returned(self, config: DictConfig, outcome: Outcome) -> JobReturn:
        error = self._task.failure(outcome, str(config.hydra.sweeper._target_))
        words = list(config.hydra.overrides.task)
        if error is not None:
            return JobReturn(overrides=words, cfg=config, status=JobStatus.FAILED, _return_value=error)
        value = outcome.metric[1] if outcome.metric else None
        return JobReturn(overrides=words, cfg=config, status=JobStatus.COMPLETED, _return_value=value)

    def _one_by_one(self, job_overrides: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        launcher = BasicLauncher()
        launcher.setup(hydra_context=self._context, task_function=self._task, config=self._config)
        return launcher.launch(job_overrides, initial_job_idx=first)


def register() -> None:
    """Make the launcher known to Hydra, which takes plugins from a package of that name only."""
    try:
        package = import_module("hydra_plugins")
    except ModuleNotFoundError:
        package = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
        package.__path__ = []
    plugin = ModuleType("hydra_plugins.nimble_lightning")
    vars(plugin)[SideBySide.__name__] = SideBySide
    vars(package)["nimble_lightning"] = sys.modules[plugin.__name__] = plugin
    SideBySide.__module__ = plugin.__name__
    Plugins.instance().register(SideBySide)


def _folder(config: DictConfig) -> Path:
    return Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)


def _lost(number: int, overrides: tuple[str, ...], folder: Path) -> Outcome:
    message = "the process that supervised it was killed again and again"
    return Outcome(number, overrides, "failed", 1, folder, message=message)
