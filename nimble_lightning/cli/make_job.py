"""From a composed configuration to a job, and from what it came to to what the command tells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, open_dict

from nimble_lightning.cli.request_plan import TrainerSource, find_source
from nimble_lightning.cli.schema import check_config
from nimble_lightning.errors import NimbleError
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.metric_values import evaluated
from nimble_lightning.sweeps.outcomes import MemberOutcome

if TYPE_CHECKING:
    from nimble_lightning.runs.job import Job
    from nimble_lightning.runs.result import Result

# On one line, beside the folder.
_FIGURES_TOLD = 4


def complete(config: DictConfig, source: TrainerSource) -> None:
    """Check a job's configuration as a whole and write the trainer's defaults into it."""
    check_config.check(config, source.signatures)
    check_config.check_required(config, source.signatures)
    check_config.fill_defaults(config, source.signatures)


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
    from nimble_lightning.runs.job import Job

    usual = check_config.defaults(source.signatures)
    return Job.from_config(config, trainer=source.trainer.reference, folder=folder, usual=usual)


def outcome_of(result: Result, member: int | None, overrides: tuple[str, ...]) -> MemberOutcome:
    """What a job came to, as the command tells it."""
    judged_by = result.best.get("metric", "")
    value = result.metrics.get(judged_by)
    return MemberOutcome(
        member,
        overrides,
        result.status,
        result.exit_code,
        result.folder,
        None if value is None else (judged_by, float(value)),
        result.seconds,
        result.message,
        tuple(evaluated(result.metrics).items())[:_FIGURES_TOLD],
    )


def not_run(
    error: NimbleError, folder: Path, member: int | None, overrides: tuple[str, ...]
) -> MemberOutcome:
    """What there is to tell of a job that did not get as far as a result."""
    code = ExitCode.of(error)
    status = "refused" if code is ExitCode.REFUSED else "failed"
    return MemberOutcome(member, overrides, status, code, folder, message=str(error))
