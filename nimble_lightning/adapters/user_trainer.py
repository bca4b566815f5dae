"""The user's trainer: which methods it defines, how they are called, which modules it owns."""

from __future__ import annotations

import enum
import inspect
import time
import types
import typing
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, Union

from torch import nn

from nimble_lightning.adapters.stop_iteration import Watched
from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.trainer import NimbleTrainer

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_MOST_MODULES = 1000


class UserTrainer:
    """Wraps any object with the four methods; inheriting from `NimbleTrainer` is not required.

    Args:
        trainer: The object, or its class.
        params: Keywords for `pre_process`.
        context: What methods written with `**kwargs` get besides: `params`, `run_folder`, `resume_from`.
    """

    def __init__(
        self, trainer: Any, params: Mapping[str, Any], context: Mapping[str, Any] | None = None
    ) -> None:
        if not callable(getattr(trainer, "pre_process", None)):
            # Before it is made: whatever else it is, it is none of ours to call.
            name = getattr(trainer, "__name__", type(trainer).__name__)
            raise RequestError(f"{name} has no method pre_process(). It builds the data and the model.")
        self.object = _made(trainer) if isinstance(trainer, type) else trainer
        self.params = dict(params)
        self.context = {"params": self.params, **(context or {})}
        self.seconds_to_prepare = 0.0
        self._prepared = False
        self._waiting: list[Callable[[], None]] = []
        if self.method("train") is None:
            raise RequestError(f"{self.name} has no method train(). train(self, batch) returns the loss.")

    @property
    def name(self) -> str:
        return type(self.object).__name__

    @property
    def trains_by_itself(self) -> bool:
        """Whether `train` is the whole-run form: keywords only, called once."""
        return not self.takes_batch("train")

    def takes_batch(self, name: str) -> bool:
        """Whether the user's method of that name works on a batch, rather than on the whole run."""
        method = self.method(name)
        parameters = inspect.signature(method).parameters.values() if method else ()
        return any(p.kind in _POSITIONAL for p in parameters)

    def prepare(self) -> None:
        """Run `pre_process` once in this process."""
        if not self._prepared:
            method, began = self.object.pre_process, time.monotonic()
            params = as_annotated(method, self.params)
            call(method, {**self.context, **params} if _takes_anything(method) else params)
            self.seconds_to_prepare = time.monotonic() - began
            self._prepared = True
            while self._waiting:
                self._waiting.pop(0)()

    def once_prepared(self, act: Callable[[], None]) -> None:
        """Have something done as soon as `pre_process` has run."""
        if self._prepared:
            act()
        else:
            self._waiting.append(act)

    def method(self, name: str) -> Callable[..., Any] | None:
        """The user's own method of that name; None where only the base class's default exists."""
        found = getattr(self.object, name, None)
        if not callable(found) or getattr(type(self.object), name, None) is getattr(
            NimbleTrainer, name, self
        ):
            return None
        return Watched(found)

    def run(self, name: str) -> Any:
        """Call a method that works on the whole run.

        That is `train`, `evaluate` or `predict_and_show` where it takes no batch.
        """
        method = self.method(name)
        return None if method is None else call(method, self.context)

    def get(self, *names: str) -> Any:
        """The first of the attributes that is set, else None."""
        return next((v for n in names if (v := getattr(self.object, n, None)) is not None), None)

    def modules(self) -> dict[str, nn.Module]:
        """Every module kept as an attribute, by name: what is trained and checkpointed."""
        modules = {k: v for k, v in vars(self.object).items() if isinstance(v, nn.Module)}
        known = {id(p) for module in modules.values() for p in module.parameters()}
        for name, value in vars(self.object).items():
            if any(p.requires_grad and id(p) not in known for m in _inside(value) for p in m.parameters()):
                kind = "ModuleDict" if isinstance(value, dict) else "ModuleList"
                raise TrainerError(
                    f"{self.name}.{name} is a {type(value).__name__} of modules, which would not be trained. "
                    f"Make it a torch.nn.{kind}."
                )
        return modules

    def send_logs_to(self, sink: Callable[[str, Any], None]) -> None:
        """Let `self.log(name, value)` in user code reach us."""
        self.object._sink = sink
        if not hasattr(self.object, "log"):
            self.object.log = sink


def _inside(value: Any) -> list[nn.Module]:
    """Modules in a list, tuple or dict; one that begins with other things is data, however long."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [item for item in islice(items, _MOST_MODULES) if isinstance(item, nn.Module)]


def _made(trainer: type) -> Any:
    """The class made into an object, as a worker has to do it: without arguments."""
    parameters = inspect.signature(trainer).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in _ANY_NUMBER]
    if needed:
        raise RequestError(
            f"{trainer.__name__}.__init__ needs {', '.join(needed)}, but a trainer is made without "
            "arguments. Make them keywords of pre_process."
        )
    return trainer()


def call(method: Callable[..., Any], available: Mapping[str, Any]) -> Any:
    """Call with those of the available keywords that the method takes."""
    if _takes_anything(method):
        return method(**available)
    accepted = inspect.signature(method).parameters
    missing = [
        n
        for n, p in accepted.items()
        if p.default is p.empty and p.kind is not p.VAR_POSITIONAL and n not in available
    ]
    if missing:
        if method.__name__ != "pre_process":
            known = ", ".join(available)
            raise TrainerError(f"{method.__qualname__} needs {', '.join(missing)}; it can have {known}.")
        raise RequestError(f"pre_process needs {', '.join(missing)}. Give params.{missing[0]}=...")
    unknown = [n for n in available if n not in accepted]
    if unknown and method.__name__ == "pre_process":
        raise RequestError(
            f"pre_process has no parameter {unknown[0]!r}. It has: {', '.join(accepted) or 'none'}."
        )
    return method(**{n: v for n, v in available.items() if n in accepted})


def _takes_anything(method: Callable[..., Any]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(method).parameters.values())


def as_annotated(method: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values in the types that the method's annotations ask for; what they do not name stays as it is."""
    try:
        hints = typing.get_type_hints(method)
    except (NameError, TypeError):
        # Annotations of things imported for type checkers only.
        return dict(values)
    return {name: _convert(name, value, hints.get(name)) for name, value in values.items()}


def _convert(name: str, value: Any, wanted: Any) -> Any:
    origin = typing.get_origin(wanted)
    if value is None or wanted is None:
        return value
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(wanted) if kind is not type(None)]
        return _convert(name, value, kinds[0]) if len(kinds) == 1 else value
    if (origin or wanted) is tuple and isinstance(value, list):
        return tuple(value)
    if isinstance(wanted, type) and isinstance(value, str):
        if issubclass(wanted, PurePath):
            return Path(value).expanduser()
        if issubclass(wanted, enum.Enum):
            return _member(name, value, wanted)
    return value


def _member(name: str, value: str, wanted: type[enum.Enum]) -> enum.Enum:
    for member in wanted:
        if value in (member.name, member.value, str(member)):
            return member
    raise RequestError(f"params.{name}={value!r}: expected one of {', '.join(m.name for m in wanted)}.")
