"""A composed configuration held against the signatures of everything it will be given to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, Node, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from nimble_lightning.cli.schema.conform import conform, like
from nimble_lightning.cli.schema.lightning_arguments import ELSEWHERE, NARROWER
from nimble_lightning.cli.schema.parameters import Parameter, Signature, from_text, of_target
from nimble_lightning.cli.schema.scalars import Mismatch
from nimble_lightning.cli.schema.sections import NAMES, TOP, signature_of
from nimble_lightning.cli.suggestions import nearest
from nimble_lightning.errors import RequestError
from nimble_lightning.runs.request.setting_blocks import complete_blocks

# In these groups null means that whoever builds the object decides.
_NULL_IS_OPEN = ("optim", "schedule")
# Given by whoever instantiates the object, never by the configuration.
_NOT_SETTINGS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}


def check(config: DictConfig, params: Iterable[Signature], touched: Iterable[str] | None = None) -> None:
    """Check every section; values are made what their types say (`1e-3` as text becomes a number).

    Args:
        config: Composed; changed in place.
        params: The signatures that `params` go to: a trainer's, or a model's and its data's.
        touched: Keys that are not as shipped. Only `_target_` blocks with one of them are read; None: all.
    """
    complete_blocks(config)
    for section in NAMES:
        block = config if section == TOP else OmegaConf.select(config, section)
        if isinstance(block, DictConfig):
            _check_settings(block, section)
    lightning = OmegaConf.select(config, "lightning")
    if isinstance(lightning, DictConfig):
        check_lightning(lightning)
    check_params(config, list(params))
    heads = None if touched is None else {name for key in touched for name in _heads(key)}
    for name, block in _targets(config):
        if heads is None or name in heads:
            check_target(name, block)


def check_params(config: DictConfig, signatures: list[Signature]) -> None:
    """Check `params` against the signatures they go to; each takes what it knows."""
    if not signatures:
        return
    params = config.params
    known = {name for signature in signatures for name in signature.parameters}
    for key in map(str, list(params)):
        if key not in known and not any(signature.open for signature in signatures):
            raise RequestError(_no_param(key, signatures))
        for signature in signatures:
            if key in signature.parameters:
                _check_value(params, key, f"params.{key}", signature)


def check_required(config: DictConfig, signatures: list[Signature]) -> None:
    """Refuse when a parameter without default is not given."""
    for signature in signatures:
        for parameter in signature.parameters.values():
            if parameter.required and parameter.name not in config.params:
                raise RequestError(
                    f"params.{parameter.name} is missing: {signature.owner} has no default for it "
                    f"({signature.where(parameter.name)})\nGive it as params.{parameter.name}=VALUE, an "
                    f"object as params.{parameter.name}._target_=package.Class"
                )


def fill_defaults(config: DictConfig, signatures: list[Signature]) -> None:
    """Put the trainer's defaults beside the given `params`, in the order of the source."""
    given = OmegaConf.to_container(config.params, resolve=False)
    merged = {**defaults(signatures), **dict(given if isinstance(given, dict) else {})}
    with open_dict(config):
        config.params = merged


def defaults(signatures: list[Signature]) -> dict[str, Any]:
    """The defaults of parameters, as far as YAML can hold them.

    Two signatures that disagree about a default each keep their own; what only Python can express stays out.
    """
    found: dict[str, list[Any]] = {}
    for signature in signatures:
        for parameter in signature.parameters.values():
            try:
                found.setdefault(parameter.name, []).append(parameter.value())
            except (ValueError, TypeError):
                found.setdefault(parameter.name, []).append(object())
    return {
        name: values[0]
        for name, values in found.items()
        if _plain(values[0]) and values == values[:1] * len(values)
    }


def check_lightning(block: DictConfig) -> None:
    """Check the arguments of lightning.Trainer against the installed one."""
    for key in map(str, list(block)):
        if key in ELSEWHERE:
            raise RequestError(f"lightning.{key} is not set here: {ELSEWHERE[key]}")
    signature = of_target("lightning.Trainer")
    if signature is None:
        return
    narrower = from_text(NARROWER, "lightning.Trainer")
    parameters = {**signature.parameters, **narrower.parameters}
    _check_block(block, Signature("lightning.Trainer", signature.source, parameters), "lightning")


def check_target(name: str, block: DictConfig) -> None:
    """Check the arguments of a `_target_` against its class, as far as its source can be found."""
    signature = of_target(str(block._get_node("_target_")))
    if signature is not None:
        _check_block(block, signature, name)


def takes_whole_numbers(config: DictConfig, key: str, params: Iterable[Signature]) -> bool:
    """Whether the type of a setting, by its dotted name, takes whole numbers and no others."""
    section, _, name = key.rpartition(".")
    block = OmegaConf.select(config, section) if section else config
    if section == "params":
        signatures = list(params)
    elif section == "lightning":
        signatures = [from_text(NARROWER, section)]
    elif isinstance(block, DictConfig) and "_target_" in block:
        signatures = [found] if (found := of_target(str(block._get_node("_target_")))) else []
    else:
        signatures = [signature_of(section)] if section in NAMES else []
    return any(
        name in signature.parameters
        and type(_read(1, signature.parameters[name], signature)) is int
        and _read(0.5, signature.parameters[name], signature) is None
        for signature in signatures
    )


def _read(value: Any, parameter: Parameter, signature: Signature) -> Any:
    try:
        return conform(value, parameter.annotation, signature.source)
    except Mismatch:
        return None


def trainer_arguments() -> list[str]:
    """What lightning.Trainer takes and is set here."""
    signature = of_target("lightning.Trainer")
    return [name for name in signature.parameters if name not in ELSEWHERE] if signature is not None else []


def _check_settings(block: DictConfig, section: str) -> None:
    signature = signature_of(section)
    for key in signature.parameters:
        # What is in a section is checked with the section; its references may well be for something else.
        if key in block and not (section == TOP and isinstance(block._get_node(key), DictConfig)):
            _check_value(block, key, f"{section}.{key}" if section else key, signature)
    if section != TOP:
        _refuse_strangers(block, signature, section)


def _refuse_strangers(block: DictConfig, signature: Signature, prefix: str) -> None:
    for key in [str(key) for key in block]:
        if key in signature.parameters or key in _NOT_SETTINGS or signature.open:
            continue
        near = nearest(key, list(signature.parameters))
        hint = f"did you mean {prefix}.{near}?" if near else f"it takes {', '.join(signature.parameters)}"
        raise RequestError(f"There is no {prefix}.{key}; {hint}")


def _check_block(block: DictConfig, signature: Signature, prefix: str) -> None:
    _refuse_strangers(block, signature, prefix)
    for name, node in block.items_ex(resolve=False):
        key = str(name)
        left_open = prefix in _NULL_IS_OPEN and node is None
        if key in signature.parameters and not left_open:
            _check_value(block, key, f"{prefix}.{key}", signature)


def _check_value(block: DictConfig, key: str, name: str, signature: Signature) -> None:
    parameter = signature.parameters[key]
    node = block._get_node(key)
    raw = node._value() if isinstance(node, Node) else node
    reference = raw if isinstance(raw, str) and "${" in raw else None
    try:
        value = block[key]
        plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0].rpartition("resolving interpolation: ")[2]
        raise RequestError(f"{name}={reference or raw}: {reason.strip(chr(34))}") from None
    try:
        fitting = (
            like(plain, parameter.default)
            if parameter.annotation is None
            else conform(plain, parameter.annotation, signature.source)
        )
    except Mismatch as mismatch:
        raise RequestError(_misfit(name, plain, reference, mismatch, parameter, signature)) from None
    if (
        reference is None
        and not OmegaConf.is_config(value)
        and (type(fitting), fitting) != (type(plain), plain)
    ):
        block[key] = fitting


def _misfit(
    name: str,
    value: Any,
    reference: str | None,
    mismatch: Mismatch,
    parameter: Parameter,
    signature: Signature,
) -> str:
    if reference and value is None:
        source = reference.strip("${}")
        return f"{name} takes its value from {source}, which is not set\nAdd {source}=..."
    # What a reference stands for may be a secret.
    shown = reference or ("null" if value is None else repr(value))
    where = f"\n{parameter.text}  ({signature.where(name.rpartition('.')[2])})" if parameter.line else ""
    return (
        f"{name}: expected {mismatch.expected}, got {shown}{'' if reference else mismatch.hint(value)}{where}"
    )


def _no_param(key: str, signatures: list[Signature]) -> str:
    known = [name for signature in signatures for name in signature.parameters]
    owners = " or ".join(f"{signature.owner} in {signature.source.path.name}" for signature in signatures)
    near = nearest(key, known)
    if near:
        return f"There is no params.{key}; did you mean params.{near}?\n{owners} takes {', '.join(known)}"
    takes = f"it takes {', '.join(known)}" if known else "it takes none"
    return f"There is no params.{key} in {owners}; {takes}"


def _targets(node: Any, prefix: str = "") -> Iterator[tuple[str, DictConfig]]:
    """All blocks with a `_target_`, with their dotted names."""
    if not isinstance(node, DictConfig) or node._is_none() or node._is_interpolation():
        return
    if "_target_" in node and prefix:
        yield prefix, node
    for key in map(str, list(node)):
        if key not in ("params", "hydra"):
            yield from _targets(node._get_node(key), f"{prefix}.{key}" if prefix else key)


def _heads(key: str) -> Iterator[str]:
    parts = key.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])


def _plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_plain(item) for item in value)
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _plain(item) for key, item in value.items())
    # Text with a reference in it would be looked up rather than handed over.
    return (
        value is None
        or isinstance(value, bool | int | float)
        or (isinstance(value, str) and "${" not in value)
    )
