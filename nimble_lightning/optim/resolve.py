"""From what a configuration says (`_target_` and arguments) to a call that explains why it cannot be made."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nimble_lightning.errors import RequestError

Spec = Mapping[str, Any] | Callable[..., Any]

_HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_"}


@dataclass(frozen=True)
class Call:
    """A callable, the arguments asked for, and the setting they come from."""

    setting: str
    target: Callable[..., Any]
    arguments: dict[str, Any]

    @property
    def name(self) -> str:
        return getattr(self.target, "__name__", repr(self.target))

    def takes(self, argument: str) -> bool:
        """Whether the callable names this argument."""
        return argument in inspect.signature(self.target).parameters

    def value(self, argument: str) -> Any:
        """What was asked for, else the callable's own default."""
        if argument in self.arguments:
            return self.arguments[argument]
        own = inspect.signature(self.target).parameters.get(argument)
        return None if own is None or own.default is own.empty else own.default

    def offer(self, argument: str, value: Any) -> None:
        """Fill in what the run knows, where the callable takes it and the settings leave it open."""
        if value is not None and self.takes(argument) and self.arguments.get(argument) is None:
            self.arguments[argument] = value

    def __call__(self, first: Any) -> Any:
        self._refuse_unknown()
        try:
            return self.target(first, **self.arguments)
        except (TypeError, ValueError) as error:
            raise RequestError(f"{self.setting}: {self.name} refused its arguments: {error}") from error

    def _refuse_unknown(self) -> None:
        parameters = inspect.signature(self.target).parameters
        if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
            return
        for argument in self.arguments:
            if argument not in parameters:
                near = difflib.get_close_matches(argument, parameters, n=1)
                known = ", ".join(name for name in list(parameters)[1:])
                hint = f"Did you mean {self.setting}.{near[0]}?" if near else f"It takes: {known}."
                raise RequestError(f"{self.setting}.{argument}: {self.name} has no such argument. {hint}")


def resolve(setting: str, spec: Spec) -> Call:
    """Read a mapping with `_target_`, a `functools.partial`, or any callable."""
    if isinstance(spec, Mapping):
        given = {str(key): _plain(value) for key, value in spec.items() if key not in _HYDRA_KEYS}
        return Call(setting, _import(setting, spec.get("_target_")), given)
    if isinstance(spec, functools.partial):
        target = functools.partial(spec.func, *spec.args) if spec.args else spec.func
        return Call(setting, target, {key: _plain(value) for key, value in spec.keywords.items()})
    if callable(spec):
        return Call(setting, spec, {})
    raise RequestError(f"{setting}={spec!r} is neither settings with a _target_ nor a callable.")


def _import(setting: str, path: Any) -> Callable[..., Any]:
    module, _, name = str(path or "").rpartition(".")
    try:
        target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RequestError(
            f"{setting}._target_={path!r} cannot be imported: {error}. Write it as package.module.Name."
        ) from error
    if not callable(target):
        raise RequestError(
            f"{setting}._target_={path!r} is a {type(target).__name__}; expected a class or function."
        )
    return target  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    """Containers as dicts and tuples: torch keeps arguments in its state, and that has to be plain."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return tuple(_plain(one) for one in value)
    return value
