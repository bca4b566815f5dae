"""Sweeps handed to Slurm, and watched from here for as long as somebody wants to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from omegaconf import DictConfig, open_dict

from nimble_lightning.cli.hydra.task import Task
from nimble_lightning.cli.make_job import make_job, not_run, outcome_of
from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.launch.slurm import queue, submit
from nimble_lightning.launch.slurm.queue import QueuedRun
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.run_folder import SWEEP_LOCK
from nimble_lightning.runs.lock import RunLock
from nimble_lightning.runs.request.rerun import done_before
from nimble_lightning.runs.result import Result
from nimble_lightning.settings import Slurm
from nimble_lightning.sweeps import outcomes
from nimble_lightning.sweeps.live_board import Board
from nimble_lightning.sweeps.outcomes import MemberOutcome

# Of a search, whose members depend on earlier ones, unless launch.jobs says how many.
_AT_ONCE = 4


class Array:
    """The members of a sweep as elements of arrays.

    Members in the queue from an earlier start are watched as well, and finished ones not handed in. Ctrl-C
    ends the watching; the members go on.

    Args:
        config: Of the sweep.
        launch: What is asked of Slurm.
        task: Knows what is varied, and remembers what came of the members.
        compose: The configuration of a member by its number and overrides.
    """

    def __init__(
        self,
        config: DictConfig,
        launch: Slurm,
        task: Task,
        compose: Callable[[int, Sequence[str]], DictConfig],
    ) -> None:
        self._launch, self._task, self._compose = launch, task, compose
        self._sweep = Path(str(config.hydra.sweep.dir))
        self._waiting: dict[int, QueuedRun] = {}
        self._outcomes: dict[int, MemberOutcome] = {}

    def run(
        self,
        jobs: Iterable[tuple[int, Sequence[str]]],
        most: int,
        told: Callable[[MemberOutcome], MemberOutcome],
    ) -> dict[int, MemberOutcome]:
        """Hand members in, all that are known and others as earlier ones end, and see them through.

        Args:
            jobs: Number and overrides of each.
            most: How many there are going to be.
            told: Hears of every outcome, and gives it back as it is to be shown.
        """
        room = most if isinstance(jobs, Sequence) else self._at_once()
        jobs, looks = iter(jobs), queue.intervals()
        self._sweep.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with RunLock(self._sweep / SWEEP_LOCK), Board(most) as board:
                while (fresh := list(islice(jobs, room - len(self._waiting)))) or self._waiting:
                    over = self._hand_in(fresh)
                    for ended in [*over, *self._see(board)]:
                        outcome = told(ended)
                        self._outcomes[outcome.number or 0] = outcome
                        board.ended(outcome)
                    if self._launch.wait is False:
                        break
                    if self._waiting:
                        next(looks)
        except KeyboardInterrupt:
            print("The members go on in Slurm; the same command with the same sweep_id watches again.")
            raise SystemExit(ExitCode.INTERRUPTED) from None
        finally:
            for number, member in self._waiting.items():
                self._outcomes[number] = self._outcome(number, submit.submitted(member.job), member.words)
            self._task.outcomes += [self._outcomes[number] for number in sorted(self._outcomes)]
            for outcome in self._task.outcomes:
                outcomes.keep(outcome)
        return self._outcomes

    def _at_once(self) -> int:
        return _AT_ONCE if self._launch.jobs == "auto" else self._launch.jobs

    def _hand_in(self, jobs: Sequence[tuple[int, Sequence[str]]]) -> list[MemberOutcome]:
        """Hand in those that have to run; returns what there is to say of the others."""
        over: list[MemberOutcome] = []
        fresh: dict[int, QueuedRun] = {}
        for number, overrides in jobs:
            member = self._member(number, overrides)
            if isinstance(member, MemberOutcome):
                over.append(member)
            else:
                fresh[number] = member
        asked = dict(fresh)
        for number in submit.in_queue({number: member.job.folder for number, member in fresh.items()}):
            del asked[number]
        for number, member in list(asked.items()):
            try:
                submit.prepare(member.job)
            except NimbleError as error:
                over.append(not_run(error, member.job.folder.path, number, member.words))
                del asked[number], fresh[number]
        if asked:
            array = submit.submit_members(self._sweep, {n: member.job for n, member in asked.items()})
            print(f"{len(asked)} members are Slurm job {array}  (end: scancel {array})", flush=True)
        self._waiting |= fresh
        return over

    def _member(self, number: int, overrides: Sequence[str]) -> QueuedRun | MemberOutcome:
        """A member that has to run, or what came of it already."""
        config, folder = self._compose(number, overrides), self._sweep / str(number)
        words = self._task.varied(config.hydra.overrides.task)
        if str(config.hydra.sweep.subdir) != folder.name:
            raise RequestError(
                f"hydra.sweep.subdir={config.hydra.sweep.subdir}: launch=slurm numbers the members' folders\n"
                "Leave it out"
            )
        with open_dict(config):
            del config["hydra"]
        try:
            job = make_job(config, folder, number)
            done = done_before(job)
        except NimbleError as error:
            return not_run(error, folder, number, words)
        return QueuedRun(job, words) if done is None else self._outcome(number, done, words)

    def _see(self, board: Board) -> list[MemberOutcome]:
        """Show how members in the queue are; returns what came of those that have ended."""
        before = {number: member.state for number, member in self._waiting.items()}
        over = queue.ended(self._waiting)
        for number, member in self._waiting.items():
            if member.state == "RUNNING" != before[number]:
                board.started(number, member.words, member.job.folder.path)
        running = {n: m.job.folder.path for n, m in self._waiting.items() if m.state == "RUNNING"}
        board.look(running)
        return [self._outcome(n, result, self._waiting.pop(n).words) for n, result in over.items()]

    def _outcome(self, number: int, result: Result, words: tuple[str, ...]) -> MemberOutcome:
        return outcome_of(result, number, words)
