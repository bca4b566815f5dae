"""From a request to a checked configuration and the overrides with which Hydra arrives at the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from nimble_lightning.cli.arguments import Request, candidates, read_override
from nimble_lightning.cli.compose import Composer, composer
from nimble_lightning.cli.rewrite_overrides import rewrite
from nimble_lightning.cli.schema import check_config
from nimble_lightning.cli.schema.parameters import Signature
from nimble_lightning.cli.schema.sections import TOP, signature_of
from nimble_lightning.cli.schema.trainer_file import TrainerTarget, beside, peek
from nimble_lightning.cli.suggestions import nearest
from nimble_lightning.errors import RequestError
from nimble_lightning.runs.request.setting_effects import differing


@dataclass(frozen=True)
class TrainerSource:
    """A trainer and, for a LightningModule, the data that goes with it."""

    trainer: TrainerTarget
    data: TrainerTarget | None

    @property
    def signatures(self) -> list[Signature]:
        return [target.signature for target in (self.trainer, self.data) if target is not None]


@dataclass(frozen=True)
class RequestPlan:
    """What will be run.

    Attributes:
        config: The configuration of the run, of a sweep its first member.
        overrides: For Hydra.
        sources: Every trainer the command names.
        groups: Every group with its choices.
        asked: The keys that were asked for, on the command line or in files of one's own.
    """

    config: DictConfig
    overrides: list[str]
    sources: list[TrainerSource]
    groups: dict[str, list[str]]
    asked: list[str]


def make_plan(request: Request, *, required: bool = True) -> RequestPlan:
    """Compose and check everything that can be known now.

    Args:
        request: What was asked.
        required: Whether parameters without a default have to be given.

    Raises:
        RequestError: Something was asked for that does not exist or does not fit.
    """
    from nimble_lightning.runs.secret_references import refuse_secrets

    _check_sweeps(request)
    with composer(request) as hydra:
        request.overrides = [_as_parameter(override, hydra) for override in request.overrides]
        config = hydra.probe(request.overrides)
        sources = [find_source(spec, _datamodule(request, config)) for spec in _trainers(request, config)]
        overrides, plain = _rewritten(request, config, hydra, sources)
    for override in plain:
        for value in candidates(override):
            refuse_secrets(override.key_or_group, value)
        _apply(config, override, candidates(override)[0])
    touched = None
    if _own_files(request):
        _refuse_unread(config, request, hydra.groups)
    else:
        touched = [o.key_or_group for o in request.overrides]
    for signatures in [source.signatures for source in sources] or [[]]:
        _check_all(config, plain, signatures, touched)
        if required:
            check_config.check_required(config, signatures)
    _check_sweep_id(request, config)
    asked = _asked(request, config)
    for source in sources:
        source.trainer.trained().refuse(asked, config)
    return RequestPlan(config, overrides, sources, hydra.groups, asked)


def find_source(spec: str, datamodule: str | None) -> TrainerSource:
    """Find what `trainer=` names and, for a LightningModule, its data."""
    trainer = peek(spec)
    if datamodule is not None:
        return TrainerSource(trainer, peek(datamodule, key="datamodule"))
    if trainer.kind != "module":
        return TrainerSource(trainer, None)
    data = beside(trainer)
    if data is None and not trainer.defines("train_dataloader"):
        raise RequestError(
            f"{trainer.node.name} in {trainer.source.path.name} is a LightningModule without data\n"
            "Put a LightningDataModule beside it, or name one: datamodule=data.py:Class"
        )
    return TrainerSource(trainer, data)


def _as_parameter(override: Override, hydra: Composer) -> Override:
    """`data=FILE` and `model=NAME` for the trainer: a section of settings cannot be a word or a list."""
    key = override.key_or_group
    if key not in ("data", "model") or hydra.is_group(override) or override.is_delete():
        return override
    if any(isinstance(value, dict | None) for value in candidates(override)):
        return override
    return read_override(f"params.{str(override.input_line).lstrip('+')}")


def _rewritten(
    request: Request, config: DictConfig, hydra: Composer, sources: Sequence[TrainerSource]
) -> tuple[list[str], list[Override]]:
    params = [f"params.{name}" for source in sources for sig in source.signatures for name in sig.parameters]
    trainer = check_config.trainer_arguments()
    written = rewrite(request.overrides, config, hydra, [*params, *(f"lightning.{name}" for name in trainer)])
    parsed = [read_override(text) for text in written]
    return written, [
        o for o in parsed if not hydra.is_group(o) and not o.is_hydra_override() and not o.is_delete()
    ]


def _datamodule(request: Request, config: DictConfig) -> str | None:
    asked = [value for value in request.values("datamodule") if value is not None] or [
        config.get("datamodule")
    ]
    return None if asked[0] is None else str(asked[0])


def _trainers(request: Request, config: DictConfig) -> list[str]:
    asked = [str(value) for value in request.values("trainer") if value is not None]
    return asked or ([str(config.trainer)] if config.get("trainer") else [])


def _check_all(
    config: DictConfig, plain: Sequence[Override], signatures: list[Signature], touched: list[str] | None
) -> None:
    """Check the first member of a sweep as a whole, then each further value in its place."""
    check_config.check(config, signatures, touched)
    for override in plain:
        values = candidates(override)
        for value in values[1:]:
            _apply(config, override, value)
            check_config.check(config, signatures, [override.key_or_group])
        if len(values) > 1:
            _apply(config, override, values[0])


def _apply(config: DictConfig, override: Override, value: Any) -> None:
    try:
        with open_dict(config):
            OmegaConf.update(config, override.key_or_group, value, merge=True, force_add=True)
    except OmegaConfBaseException as error:
        raise RequestError(f"{override.input_line}: {str(error).splitlines()[0]}") from None


def _check_sweeps(request: Request) -> None:
    if request.multirun:
        return
    for override in request.overrides:
        if override.is_sweep_override():
            key, value = override.key_or_group, override.get_value_string()
            as_list = (
                f"; a list is written {key}=[{value}]"
                if override.is_choice_sweep() and "(" not in value
                else ""
            )
            raise RequestError(
                f"{override.input_line} asks for several runs; add -m for one run each{as_list}"
            )


def _asked(request: Request, config: DictConfig) -> list[str]:
    overrides = [o for o in request.overrides if not o.is_hydra_override() and not o.is_delete()]
    typed = [o.key_or_group for o in overrides]
    plain: Any = OmegaConf.to_container(config, resolve=False)
    return [*typed, *differing(plain)] if _own_files(request) else typed


def _check_sweep_id(request: Request, config: DictConfig) -> None:
    if config.get("sweep_id") is not None and not request.multirun:
        raise RequestError(
            f"sweep_id={config.sweep_id} names a sweep, and this is one run\n"
            f"Name it run_id={config.sweep_id}, or add -m"
        )


def _refuse_unread(config: DictConfig, request: Request, groups: Mapping[str, Sequence[str]]) -> None:
    """Files may bring values that others refer to; one that nothing reads is a slip of the pen."""
    known = [*signature_of(TOP).parameters, *groups]
    asked = {o.key_or_group.partition(".")[0] for o in request.overrides}
    text = OmegaConf.to_yaml(config, resolve=False)
    for key in map(str, list(config)):
        if key not in known and key not in asked and f"${{{key}" not in text:
            near = nearest(key, known)
            raise RequestError(
                f"There is no {key}; {f'did you mean {near}?' if near else 'nothing reads it'}"
            )


def _own_files(request: Request) -> bool:
    """Whether files that are not ours take part, so that nothing is as shipped."""
    return (
        bool(request.search_path())
        or any(bool(request.values(group)) for group in ("recipe", "experiment"))
        or bool(request.flags.config_name)
    )
