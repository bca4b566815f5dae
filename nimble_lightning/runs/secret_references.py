"""Secrets in a configuration: there by reference only, and known, so that nothing written holds them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nimble_lightning.errors import RequestError
from nimble_lightning.notifications import services
from nimble_lightning.ops import secrets
from nimble_lightning.ops.secret_patterns import is_telling, service_of

_VARIABLE = re.compile(r"\$\{oc\.env:\s*(\w+)")
# Variables that say where and who, in names and paths that must stay as they are.
_PUBLIC = re.compile(r"(USER|LOGNAME|HOME|HOST|HOSTNAME|PWD|TMPDIR)$|(SLURM|PBS|LSB|CUDA|XDG)_")
_TELLING = "callbacks.notification."


def refuse_secrets(key: str, value: Any) -> None:
    """Refuse a configuration, or a part of it, that holds a token itself: it would land in the run's folder.

    Args:
        key: Of the part; "" for the whole.
        value: As it is written, references unresolved.

    Raises:
        RequestError: It does; the message says where, and what to write instead.
    """
    plain = OmegaConf.to_container(value, resolve=False) if OmegaConf.is_config(value) else value
    for where, text in _texts(plain, key):
        _refuse(where, text)


def _refuse(key: str, value: str) -> None:
    if f"{key}.".startswith(_TELLING) and services.is_address(value):
        raise RequestError(
            f"{key} holds an address itself, and with it a token for everybody who reads the configuration.\n"
            f"{services.HOW}"
        )
    if "${" not in value and (names := secrets.names_of_secret(value)) and is_telling(value):
        raise RequestError(
            f"{key} holds the secret of the variable {names[0]} itself; it would land in the run's folder. "
            f"Write {key}='${{oc.env:{names[0]}}}'"
        )
    if service := service_of(value):
        raise RequestError(
            f"{key} holds what looks like a token ({service}); it would land in the run's folder. "
            f"Put it into a variable of the environment and write {key}='${{oc.env:NAME}}'"
        )


def learn_secrets(given: Any, resolved: Any) -> None:
    """Know what the references to the environment in a configuration stand for.

    Args:
        given: The configuration as it is written.
        resolved: The same with the references resolved.
    """
    values = dict(_texts(resolved, ""))
    for key, text in _texts(given, ""):
        variables = _VARIABLE.findall(text)
        if key in values and any(not _PUBLIC.match(name) for name in variables):
            secrets.learn([values[key]])


def resolved_for_people(config: DictConfig) -> str:
    """YAML with references resolved, less those that stand for a secret."""
    given = OmegaConf.to_container(config, resolve=False)
    OmegaConf.resolve(config)
    learn_secrets(given, OmegaConf.to_container(config))
    return secrets.redact(OmegaConf.to_yaml(config))


def mask_hyper_parameters(*objects: Any) -> None:
    """What loggers are told of the hyper-parameters of these modules is without secrets; they keep theirs."""
    for each in objects:
        # Lightning's copy for loggers alone.
        if (initial := getattr(each, "_hparams_initial", None)) is not None:
            each._hparams_initial = type(initial)(secrets.redacted(dict(initial)))


def _texts(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text in plain data, by its key."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _texts(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from _texts(value, f"{key}.{position}")
