"""What Hydra calls for every job: the last check, then the start."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from nimble_lightning.cli import say
from nimble_lightning.cli.make_job import make_job, not_run, outcome_of
from nimble_lightning.errors import NimbleError
from nimble_lightning.ops.exit_codes import STOPPED, ExitCode
from nimble_lightning.ops.objective import Objective
from nimble_lightning.settings import target_of
from nimble_lightning.sweeps import outcomes
from nimble_lightning.sweeps.outcomes import MemberOutcome, told


class Task:
    """Runs jobs and remembers how they ended.

    A class rather than a function because launchers that use other processes have to pickle it.

    Args:
        varied: The keys that differ between the jobs of a sweep; none when only its sweeper knows.

    Attributes:
        outcomes: Of the jobs that ran in this process, or were forked from it.
        objectives: What a search looks for.
    """

    def __init__(self, varied: Collection[str] = ()) -> None:
        self.outcomes: list[MemberOutcome] = []
        self.objectives: list[Objective] = []
        self._varied = set(varied)

    def __call__(self, config: DictConfig) -> float | None:
        hydra = HydraConfig.get()
        member = hydra.job.num if hydra.mode == RunMode.MULTIRUN else None
        folder = Path(hydra.runtime.output_dir)
        overrides = self.varied(hydra.overrides.task)
        if member is not None:
            from nimble_lightning.runs import slot

            print(f"Job {member}: {' '.join(overrides)}", flush=True)
            # Whoever kills this process, that it has begun is known, and with what.
            slot.then(partial(outcomes.keep, MemberOutcome(member, overrides, "running", 1, folder)))
        refused: NimbleError | None = None
        try:
            outcome = _run(config, folder, member, overrides)
        except NimbleError as error:
            refused, outcome = error, not_run(error, folder, member, overrides)
            _remove_empty(folder)
        self.outcomes.append(outcome)
        if member is not None:
            outcomes.keep(outcome)
        if refused is None and member is not None and _sealed(config):
            # What was signed is not added to; the command has it in its table.
            pass
        elif outcome.exit_code:
            say.complain(told(outcome), refused)
        else:
            say.say(told(outcome))
        if member is not None and outcome.exit_code in STOPPED:
            # Hydra goes on after an Exception; being told to stop is meant for the whole sweep.
            raise SystemExit(outcome.exit_code)
        if (failure := self.failure(outcome, str(hydra.sweeper._target_))) is not None:
            raise failure
        return outcome.metric[1] if outcome.metric else None

    def varied(self, overrides: Sequence[Any]) -> tuple[str, ...]:
        """What a member of a sweep has that the others may not have."""
        words = [str(word).lstrip("+") for word in overrides]
        keys = self._varied or {word.partition("=")[0] for word in words} - {"asked"}
        return tuple(word for word in words if word.partition("=")[0] in keys)

    def search(self, keys: Collection[str], objectives: Sequence[Objective]) -> None:
        """A sweeper says which keys it varies, and what for."""
        self._varied |= set(keys)
        self.objectives = list(objectives)

    def failure(self, outcome: MemberOutcome, sweeper: str) -> NimbleError | None:
        """What to raise for a member that failed; only a sweeper that searches has to see it."""
        searches = not sweeper.endswith(("Grid", "BasicSweeper"))
        failed = outcome.exit_code in (ExitCode.FAILED, ExitCode.REFUSED)
        if not failed or outcome.number is None or not searches:
            return None
        return NimbleError(outcome.message or f"job {outcome.number} failed")


def _remove_empty(folder: Path) -> None:
    """The folder that Hydra made for a job that did not begin, and those above it that were made for it."""
    with suppress(OSError):
        for each in (folder, *folder.parents[:2]):
            each.rmdir()


def _sealed(config: DictConfig) -> bool:
    """Whether what this process prints is in the log of a run that is signed by now."""
    return bool(target_of(config.signature)) and not config.log.terminal


def _run(config: DictConfig, folder: Path, member: int | None, overrides: tuple[str, ...]) -> MemberOutcome:
    job = make_job(config, folder, member)
    from nimble_lightning.launch.start import start

    return outcome_of(start(job), member, overrides)
