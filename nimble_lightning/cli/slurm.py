"""Runs and sweeps handed to Slurm, and watched from here for as long as somebody wants to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, open_dict

from nimble_lightning.cli import outcomes
from nimble_lightning.cli.jobs import make_job, not_run, outcome_of
from nimble_lightning.cli.outcomes import Outcome
from nimble_lightning.cli.sweep_board import Board
from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.runtime.job import Job
from nimble_lightning.runtime.lock import RunLock
from nimble_lightning.runtime.rerun import done_before
from nimble_lightning.runtime.result import INTERRUPTED, Result
from nimble_lightning.runtime.slurm import commands, submitting

if TYPE_CHECKING:
    from nimble_lightning.cli.task import Task

# Of a search, whose members depend on earlier ones, unless launch.jobs says how many.
_AT_ONCE = 4
# The controller is asked often while something may be over soon, and seldom for what takes hours.
_LOOK_SECONDS, _MOST_LOOK_SECONDS = 0.5, 15.0
# What a node wrote may be seen here a little later than that it is gone.
_DISK_SECONDS = 10.0


@dataclass
class Member:
    """A run in the queue.

    Attributes:
        job: What it does.
        words: What is varied in it.
        state: Slurm's word for how it is.
        gone: When it was first missed.
    """

    job: Job
    words: tuple[str, ...] = ()
    state: str = ""
    gone: float | None = None


def run(job: Job) -> Result:
    """Hand in a run and, where that is asked for, wait for its end."""
    result = submitting.submit(job)
    if result.status != "submitted" or job.config.launch.wait is not True:
        return result
    print(f"{job.run_id}: {result.message}", flush=True)
    member, looks = {0: Member(job)}, _looks()
    while not (over := _ended(member)):
        next(looks)
    return over[0]


class Array:
    """The members of a sweep as elements of arrays.

    Members in the queue from an earlier start are watched as well, and finished ones not handed in. Ctrl-C
    ends the watching; the members go on.

    Args:
        config: Of the sweep.
        task: Knows what is varied, and remembers what came of the members.
        compose: The configuration of a member by its number and overrides.
    """

    def __init__(
        self, config: DictConfig, task: Task, compose: Callable[[int, Sequence[str]], DictConfig]
    ) -> None:
        self._config, self._task, self._compose = config, task, compose
        self._sweep = Path(str(config.hydra.sweep.dir))
        self._waiting: dict[int, Member] = {}
        self._outcomes: dict[int, Outcome] = {}

    def run(
        self, jobs: Iterable[tuple[int, Sequence[str]]], most: int, told: Callable[[Outcome], Outcome]
    ) -> dict[int, Outcome]:
        """Hand members in, all that are known and others as earlier ones end, and see them through.

        Args:
            jobs: Number and overrides of each.
            most: How many there are going to be.
            told: Hears of every outcome, and gives it back as it is to be shown.
        """
        room = most if isinstance(jobs, Sequence) else self._at_once()
        jobs, looks = iter(jobs), _looks()
        self._sweep.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with RunLock(self._sweep / "sweep.lock"), Board(most) as board:
                while (fresh := list(islice(jobs, room - len(self._waiting)))) or self._waiting:
                    over = self._hand_in(fresh)
                    for ended in [*over, *self._see(board)]:
                        outcome = told(ended)
                        self._outcomes[outcome.number or 0] = outcome
                        board.ended(outcome)
                    if self._config.launch.wait is False:
                        break
                    if self._waiting:
                        next(looks)
        except KeyboardInterrupt:
            print("The members go on in Slurm; the same command with the same sweep_id watches again.")
            raise SystemExit(INTERRUPTED) from None
        finally:
            for number, member in self._waiting.items():
                self._outcomes[number] = self._outcome(number, submitting.submitted(member.job), member.words)
            self._task.outcomes += [self._outcomes[number] for number in sorted(self._outcomes)]
            for outcome in self._task.outcomes:
                outcomes.keep(outcome)
        return self._outcomes

    def _at_once(self) -> int:
        jobs = self._config.launch.jobs
        return _AT_ONCE if jobs == "auto" else int(jobs)

    def _hand_in(self, jobs: Sequence[tuple[int, Sequence[str]]]) -> list[Outcome]:
        """Hand in those that have to run; returns what there is to say of the others."""
        over: list[Outcome] = []
        fresh: dict[int, Member] = {}
        for number, overrides in jobs:
            member = self._member(number, overrides)
            if isinstance(member, Outcome):
                over.append(member)
            else:
                fresh[number] = member
        asked = dict(fresh)
        for number in submitting.in_queue({number: member.job.folder for number, member in fresh.items()}):
            del asked[number]
        for number, member in list(asked.items()):
            try:
                submitting.prepare(member.job)
            except NimbleError as error:
                over.append(not_run(error, member.job.folder.path, number, member.words))
                del asked[number], fresh[number]
        if asked:
            array = submitting.submit_members(self._sweep, {n: member.job for n, member in asked.items()})
            print(f"{len(asked)} members are Slurm job {array}  (end: scancel {array})", flush=True)
        self._waiting |= fresh
        return over

    def _member(self, number: int, overrides: Sequence[str]) -> Member | Outcome:
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
        return Member(job, words) if done is None else self._outcome(number, done, words)

    def _see(self, board: Board) -> list[Outcome]:
        """Show how members in the queue are; returns what came of those that have ended."""
        before = {number: member.state for number, member in self._waiting.items()}
        over = _ended(self._waiting)
        for number, member in self._waiting.items():
            if member.state == "RUNNING" != before[number]:
                board.started(number, member.words, member.job.folder.path)
        running = {n: m.job.folder.path for n, m in self._waiting.items() if m.state == "RUNNING"}
        board.look(running)
        return [self._outcome(n, result, self._waiting.pop(n).words) for n, result in over.items()]

    def _outcome(self, number: int, result: Result, words: tuple[str, ...]) -> Outcome:
        return outcome_of(result, number, words)


def _ended(members: Mapping[int, Member]) -> dict[int, Result]:
    """What came of those that have ended."""
    over = {n: result for n, m in members.items() if (result := submitting.ended(m.job)) is not None}
    numbers = {n: submitting.number_of(m.job.folder) for n, m in members.items() if n not in over}
    states = commands.states(numbers.values())
    if states is None:
        return over
    for n, number in numbers.items():
        member = members[n]
        member.state = states.get(number, "")
        if member.state:
            member.gone = None
        elif member.gone is None:
            member.gone = time.monotonic()
        elif time.monotonic() - member.gone > _DISK_SECONDS:
            over[n] = submitting.lost(member.job)
    return over


def _looks() -> Iterator[None]:
    """Wait, longer and longer, each time the next one is asked for."""
    seconds = _LOOK_SECONDS
    while True:
        time.sleep(seconds)
        yield
        seconds = min(_MOST_LOOK_SECONDS, 1.2 * seconds)
