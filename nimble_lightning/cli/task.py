"""What Hydra calls for every job: the last check, then the supervisor."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from nimble_lightning.cli import outcomes, saying, schema
from nimble_lightning.cli.outcomes import Outcome
from nimble_lightning.cli.plan import Source, find_source
from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.ops.figures import evaluated, objective

if TYPE_CHECKING:
    from nimble_lightning.runtime import Job, Result

_STOPPED = (130, 143)


# On one line, beside the folder.
_FIGURES_TOLD = 4


class Task:
    """Runs jobs and remembers how they ended.

    A class rather than a function because launchers that use other processes have to pickle it.

    Args:
        varied: The keys that differ between the jobs of a sweep; none when only its sweeper knows.

    Attributes:
        outcomes: Of the jobs that ran in this process, or were forked from it.
        objectives: What a search looks for: figures with minimize or maximize.
    """

    def __init__(self, varied: Collection[str] = ()) -> None:
        self.outcomes: list[Outcome] = []
        self.objectives: dict[str, str] = {}
        self._varied = set(varied)

    def __call__(self, config: DictConfig) -> float | None:
        hydra = HydraConfig.get()
        member = hydra.job.num if hydra.mode == RunMode.MULTIRUN else None
        folder = Path(hydra.runtime.output_dir)
        overrides = self.varied(hydra.overrides.task)
        if member is not None:
            print(f"Job {member}: {' '.join(overrides)}", flush=True)
            # Whoever kills this process, that it has begun is known, and with what.
            outcomes.keep(Outcome(member, overrides, "running", 1, folder))
        refused: NimbleError | None = None
        try:
            outcome = _run(config, folder, member, overrides)
        except NimbleError as error:
            refused, outcome = error, not_run(error, folder, member, overrides)
        self.outcomes.append(outcome)
        if member is not None:
            outcomes.keep(outcome)
        if outcome.exit_code:
            saying.complain(told(outcome), refused)
        else:
            saying.say(told(outcome))
        if member is not None and outcome.exit_code in _STOPPED:
            # Hydra goes on after an Exception; being told to stop is meant for the whole sweep.
            raise SystemExit(outcome.exit_code)
        if (failure := self.failure(outcome, str(hydra.sweeper._target_))) is not None:
            raise failure
        return outcome.metric[1] if outcome.metric else None

    def varied(self, overrides: Sequence[Any]) -> tuple[str, ...]:
        """What a member of a sweep has that the others may not have."""
        words = [str(word).lstrip("+") for word in overrides]
        return tuple(w for w in words if not self._varied or w.partition("=")[0] in self._varied)

    def search(self, keys: Collection[str], objectives: Mapping[str, str]) -> None:
        """A sweeper says which keys it varies, and what for."""
        self._varied |= set(keys)
        self.objectives = dict(objectives)

    def failure(self, outcome: Outcome, sweeper: str) -> NimbleError | None:
        """What to raise for a member that failed; only a sweeper that searches has to see it."""
        if outcome.exit_code not in (1, 2) or outcome.number is None or sweeper.endswith("BasicSweeper"):
            return None
        return NimbleError(outcome.message or f"job {outcome.number} failed")


def complete(config: DictConfig, source: Source) -> None:
    """Check a job's configuration as a whole and write the trainer's defaults into it."""
    schema.check(config, source.signatures)
    schema.check_required(config, source.signatures)
    schema.fill_defaults(config, source.signatures)


def make_job(config: DictConfig, folder: Path, member: int | None) -> Job:
    """The job of a configuration as Hydra composed it.

    Raises:
        RequestError: Something in it does not fit.
    """
    source = find_source(str(config.trainer), config.datamodule)
    complete(config, source)
    with open_dict(config):
        config.name = config.name or source.trainer.name
        if source.data is not None:
            config.datamodule = source.data.reference
        if member is not None:
            # One id for each member, and the same one when the sweep is asked for again.
            config.run_id = f"{folder.parent.name}-{member}"
    from nimble_lightning.runtime.job import Job

    return Job.from_config(config, trainer=source.trainer.reference, folder=folder)


def _run(config: DictConfig, folder: Path, member: int | None, overrides: tuple[str, ...]) -> Outcome:
    job = make_job(config, folder, member)
    if config.launch.name == "slurm":
        from nimble_lightning.cli import slurm

        return outcome_of(slurm.run(job), member, overrides, config.monitor)
    from nimble_lightning.runtime import supervise

    return outcome_of(supervise(job), member, overrides, config.monitor)


def outcome_of(
    result: Result, member: int | None, overrides: tuple[str, ...], monitor: str | None
) -> Outcome:
    """What a job came to, as the command tells it."""
    return Outcome(
        member,
        overrides,
        result.status,
        result.exit_code,
        result.folder,
        objective(result.metrics, monitor),
        result.seconds,
        result.message,
        tuple(evaluated(result.metrics).items())[:_FIGURES_TOLD],
    )


def not_run(error: NimbleError, folder: Path, member: int | None, overrides: tuple[str, ...]) -> Outcome:
    """What there is to tell of a job that did not get as far as a result."""
    code = 2 if isinstance(error, RequestError) else 1
    return Outcome(member, overrides, "refused" if code == 2 else "failed", code, folder, message=str(error))


def told(outcome: Outcome) -> str:
    """How a job ended, on one line."""
    where = f"Job {outcome.number}: " if outcome.number is not None else ""
    figures = "".join(f"  {name}={value:.6g}" for name, value in outcome.figures)
    folder = "" if outcome.status == "refused" else f"  {outcome.folder}"
    return f"{where}{outcome.message or outcome.status}{figures}{folder}"
