"""What `save_hyperparameters` puts into a checkpoint, as values that `weights_only=True` loads."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import torch

from nimble_lightning.ops.secrets import redacted

_log = logging.getLogger(__name__)
_said: set[str] = set()

_KEYS = ("hyper_parameters", "datamodule_hyper_parameters")
# The class of the container, which is a plain dict from now on.
_TYPES = ("hparams_type", "datamodule_hparams_type")
_SAFE = (str, int, float, bool, type(None), bytes, torch.Tensor, torch.dtype, torch.device)


class _Unsafe(Exception):
    """No plain value says the same."""


def with_plain_settings(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The checkpoint with hyper-parameters made plain; those that cannot be, such as modules, are left out.

    They are not needed to go on with a run, only to build its model from the checkpoint alone.
    """
    if not any(key in checkpoint for key in _KEYS):
        return checkpoint
    twin = {key: value for key, value in checkpoint.items() if key not in _TYPES}
    for key in _KEYS:
        if key in twin:
            twin[key] = _settings(twin[key])
    return twin


def _settings(hparams: Any) -> dict[Any, Any]:
    kept = {}
    for name, value in _as_mapping(hparams).items():
        try:
            kept[name] = redacted(_plain(value))
        except _Unsafe as unsafe:
            _say_once(str(name), str(unsafe))
    return kept


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, _SAFE):
        # A subclass would be stored by the name of its class.
        return next((kind(value) for kind in (bool, int, float, str) if isinstance(value, kind)), value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, list | tuple | set | frozenset) or type(value).__name__ == "ListConfig":
        items = [_plain(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else set(items) if isinstance(value, set) else items
    if isinstance(value, Mapping | argparse.Namespace) or _is_record(value):
        return {_plain(key): _plain(item) for key, item in _as_mapping(value).items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    raise _Unsafe(type(value).__name__)


def _as_mapping(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, argparse.Namespace):
        return vars(value)
    if _is_record(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if type(value).__module__.startswith("omegaconf."):
        from omegaconf import OmegaConf

        # Unresolved: a reference may be to a secret.
        return OmegaConf.to_container(value, resolve=False)  # type: ignore[return-value]
    return value  # type: ignore[no-any-return]


def _is_record(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _say_once(name: str, kind: str) -> None:
    if name not in _said:
        _said.add(name)
        _log.warning(
            "the hyper-parameter %r (%s) is not kept in checkpoints, which hold plain values only; "
            "save_hyperparameters(ignore=[%r]) says so in your code",
            name,
            kind,
            name,
        )
