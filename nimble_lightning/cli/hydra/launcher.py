"""Hydra's launcher for sweeps here: members side by side, each with devices of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from nimble_lightning.cli.hydra import continued_sweep
from nimble_lightning.cli.hydra.task import Task
from nimble_lightning.cli.schema.sections import launch_of
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.run_folder import JOB, LOG
from nimble_lightning.settings import Inline, RunSettings, Slurm
from nimble_lightning.sweeps import outcomes
from nimble_lightning.sweeps.live_board import Board
from nimble_lightning.sweeps.outcomes import MemberOutcome

if TYPE_CHECKING:
    from nimble_lightning.sweeps.scheduler import SweepJob

Told = Callable[[MemberOutcome], MemberOutcome]


class SideBySide(Launcher):
    """Runs as many members of a sweep at once as `launch.jobs` says; `launch=inline` runs them one by one."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context, self._config = hydra_context, config
        # Hydra hands on whatever its main function was given, which here is a Task.
        self._task = cast(Task, task_function)
        self._launch = launch_of(config)
        if not isinstance(self._launch, Inline | Slurm):
            from nimble_lightning.runs import signature
            from nimble_lightning.runs.signature import withheld
            from nimble_lightning.worker.server import forkserver

            # Members use this process's server. What they are signed with is theirs, and not their workers'.
            with withheld(signature.variables(config)):
                forkserver.start(str(config.trainer))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        folder = Path(str(self._config.hydra.sweep.dir))
        varied = [self._task.varied(words) for words in job_overrides]
        numbers = continued_sweep.numbered(folder, varied, initial_job_idx)
        jobs = list(zip(numbers, job_overrides, strict=True))
        self.require_same(varied[-1], job_overrides[-1], numbers)
        if isinstance(self._launch, Inline):
            launcher = BasicLauncher()
            launcher.setup(hydra_context=self._context, task_function=self._task, config=self._config)
            return [ended for number, words in jobs for ended in launcher.launch([words], number)]
        ended = self.stream(jobs, len(jobs), ahead=True)
        return [self._returned(words, ended[number]) for number, words in jobs]

    def require_same(self, varied: Sequence[str], words: Sequence[str], again: Collection[int] = ()) -> None:
        """Refuse members that are to differ from those of an earlier start in more than what is varied.

        Args:
            varied: What is varied in one of them.
            words: All that it is asked for by.
            again: The members that are asked for once more.
        """
        folder = Path(str(self._config.hydra.sweep.dir))
        if any(folder.glob(f"*/{JOB}")):
            continued_sweep.require_same(folder, self._member(0, words), varied, again)

    def stream(
        self,
        jobs: Iterable[tuple[int, Sequence[str]]],
        most: int,
        told: Told = lambda outcome: outcome,
        *,
        ahead: bool = False,
    ) -> dict[int, MemberOutcome]:
        """Run members as there is room for them.

        Args:
            jobs: Number and overrides of each, asked for when it can start.
            most: How many there are going to be.
            told: Hears of every outcome, and gives it back as it is to be shown.
            ahead: Ask for some before they can start: they do not depend on what came of the others.
        """
        setup_globals()
        if isinstance(self._launch, Slurm):
            from nimble_lightning.cli.hydra.slurm_array import Array

            return Array(self._config, self._launch, self._task, self._member).run(jobs, most, told)
        # Brings torch with it, which only a sweep that really starts has to wait for.
        from nimble_lightning.sweeps import scheduler

        asked: Any = OmegaConf.to_container(self._config, resolve=False)
        room = scheduler.room(RunSettings.from_config(asked), most)
        with Board(most) as board:
            watch = _Watch(board, told)
            folder = Path(str(self._config.hydra.sweep.dir))
            sweep = scheduler.Sweep(folder, room, watch, len(room) if ahead else 0)
            sweep.run(self._jobs(jobs, watch))
        self._task.outcomes += [watch.outcomes[number] for number in sorted(watch.outcomes)]
        if sweep.exit_code is not None:
            raise SystemExit(sweep.exit_code)
        return watch.outcomes

    def _jobs(self, jobs: Iterable[tuple[int, Sequence[str]]], watch: _Watch) -> Iterator[SweepJob]:
        from nimble_lightning.sweeps.scheduler import SweepJob

        for number, words in jobs:
            config = self._member(number, words)
            with open_dict(config):
                # The terminal is one for all members; what each of them has to say is in its own log.
                config.log.terminal = False
            watch.words[number] = self._task.varied(config.hydra.overrides.task)
            folder = Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)
            yield SweepJob(number, folder, partial(self._work, config))

    def _member(self, number: int, words: Sequence[str]) -> DictConfig:
        config: DictConfig = self._context.config_loader.load_sweep_config(self._config, list(words))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return config

    def _work(self, config: DictConfig) -> MemberOutcome | None:
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
        mine = self._task.outcomes
        if done is not None and done.status == JobStatus.FAILED and not mine:
            raise done._return_value
        return mine[-1] if mine else None

    def _returned(self, words: Sequence[str], outcome: MemberOutcome) -> JobReturn:
        error = self._task.failure(outcome, str(self._config.hydra.sweeper._target_))
        if error is not None:
            return JobReturn(overrides=words, status=JobStatus.FAILED, _return_value=error)
        value = outcome.metric[1] if outcome.metric else None
        return JobReturn(overrides=words, status=JobStatus.COMPLETED, _return_value=value)


class _Watch:
    """Sees members come and go: shows it, remembers what came of them, and passes it on.

    Attributes:
        words: What is varied in each.
        outcomes: Of those that ended.
    """

    def __init__(self, board: Board, told: Told) -> None:
        self._board, self._told = board, told
        self.words: dict[int, tuple[str, ...]] = {}
        self.outcomes: dict[int, MemberOutcome] = {}

    def started(self, job: SweepJob) -> None:
        self._board.started(job.number, self.words[job.number], job.folder)

    def ended(self, job: SweepJob, answer: MemberOutcome | None) -> None:
        outcome = self._told(answer or self._lost(job))
        self.outcomes[job.number] = outcome
        self._board.ended(outcome)

    def _lost(self, job: SweepJob) -> MemberOutcome:
        """Of a member that could not say what came of it."""
        lost = f"the process that supervised it did not come to its end, see {job.folder / LOG}"
        outcome = MemberOutcome(
            job.number, self.words[job.number], "failed", ExitCode.FAILED, job.folder, message=lost
        )
        outcomes.keep(outcome)
        return outcome

    def look(self, folders: Mapping[int, Path]) -> None:
        self._board.look(folders)

    def winding_down(self) -> None:
        self._board.winding_down()
