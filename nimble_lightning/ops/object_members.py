"""What objects hold, found without running any code of theirs."""

from __future__ import annotations

import functools
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from nimble_lightning.ops.lightning_packages import either

MOST_ITEMS = 100_000

# Of their objects only what is listed is looked into: the rest is machinery, or data without end.
_CLOSED = {
    *sys.stdlib_module_names,
    *("lightning", "lightning_fabric", "pytorch_lightning", "nimble_lightning", "torch", "transformers"),
    *("accelerate", "deepspeed", "peft", "tokenizers", "datasets", "huggingface_hub", "numpy", "pandas"),
    *("pyarrow", "scipy", "PIL", "h5py", "zarr", "fsspec", "hydra", "omegaconf", "optuna", "ray", "wandb"),
    *("mlflow", "tensorboard", "matplotlib", "jax", "tqdm", "rich", "psutil"),
}
_OPEN = ("torch.utils.data.", "torch.nn.")
# What `save_hyperparameters` sets: arguments of a constructor that is called again.
_SETTINGS = ("_hparams", "_hparams_initial", "_hparams_name", "_log_hyperparams")
_HOLDERS = (types.SimpleNamespace,)
_PLAIN_KEYS = (str, int, float, bool, bytes, tuple, type(None))


def is_users(thing: Any) -> bool:
    """Whether the class, or a base of it, is none of a library's that is known to keep no state of theirs."""
    if type(thing) in _HOLDERS:
        return True
    bases = (base.__module__.partition(".")[0] for base in type(thing).__mro__ if base is not object)
    return any(package not in _CLOSED for package in bases) and not issubclass(type(thing), type)


def attributes(thing: Any) -> dict[str, Any]:
    """What an object holds by name, in its `__dict__` and in slots.

    Names that the base class of a library has set are left out.
    """
    if issubclass(type(thing), types.ModuleType):
        hidden = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
        names = vars(thing).items()
        return {name: value for name, value in names if name[0] != "_" and not isinstance(value, hidden)}
    try:
        found = dict(object.__getattribute__(thing, "__dict__"))
    except AttributeError:
        found = {}
    for base in type(thing).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            member = base.__dict__.get(_mangled(base, name))
            if isinstance(member, types.MemberDescriptorType):
                try:
                    found[name] = member.__get__(thing)
                except AttributeError:
                    continue
    kind: Any = type(thing)
    for name in _begun(kind):
        found.pop(name, None)
    return found


def members(thing: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a container or an object, each with the step that leads there: `.name` or `[key]`."""
    if issubclass(type(thing), list | tuple | deque | dict):
        return _items(thing) if len(thing) <= MOST_ITEMS else iter(())
    if issubclass(type(thing), functools.partial):
        return iter([(".func", thing.func), (".args", thing.args), (".keywords", thing.keywords)])
    if issubclass(type(thing), types.MethodType):
        return iter([(".__self__", thing.__self__)])
    if issubclass(type(thing), types.FunctionType):
        return _closure(thing)
    if is_users(thing) or f"{type(thing).__module__}.".startswith(_OPEN):
        return _attributes(thing)
    # Whoever wraps a function, the function may be a user's.
    wrapped = attributes(thing).get("__wrapped__")
    return iter(() if wrapped is None else [(".__wrapped__", wrapped)])


def _items(thing: Any) -> Iterator[tuple[str, Any]]:
    for key, item in dict.items(thing) if issubclass(type(thing), dict) else enumerate(thing):
        if type(key) in _PLAIN_KEYS:
            yield f"[{key!r}]", item


def _closure(thing: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True):
        with suppress(ValueError):  # not filled yet
            yield f".{name}", cell.cell_contents


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    yield from ((f".{name}", value) for name, value in attributes(thing).items())
    for kind in ("_parameters", "_buffers", "_modules") if _is_module(thing) else ():
        yield from ((f".{name}", value) for name, value in vars(thing)[kind].items())


def reachable(
    roots: Iterable[tuple[str, Any]],
    *,
    closed: Callable[[Any], bool] = lambda thing: False,
    most: int = MOST_ITEMS,
) -> Iterator[tuple[str, Any, str | None]]:
    """Walk over everything reachable from the roots, near things first, each once.

    Yields its path, itself, and the path of what it was found in.

    Args:
        roots: By path.
        closed: Whether a thing is not looked into.
        most: After so many the search ends.
    """
    seen: dict[int, Any] = {}
    waiting: deque[tuple[str, Any, str | None]] = deque((path, thing, None) for path, thing in roots)
    while waiting and len(seen) < most:
        path, thing, owner = waiting.popleft()
        if type(thing) in _LEAVES or id(thing) in seen:
            continue
        # Kept, so that nothing else gets the same id meanwhile.
        seen[id(thing)] = thing
        yield path, thing, owner
        if not closed(thing):
            waiting.extend((path + step, part, path) for step, part in members(thing))


_LEAVES = (type(None), bool, int, float, complex, str, bytes)


def _is_module(thing: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and issubclass(type(thing), torch.nn.Module)


@functools.cache
def _begun(kind: type) -> frozenset[str]:
    """The names that a base class of a library gives each object for purposes of its own."""
    if (torch := sys.modules.get("torch")) is None:
        return frozenset()
    names: set[str] = set()
    if issubclass(kind, torch.nn.Module):
        names |= vars(torch.nn.Module()).keys()
    if issubclass(kind, torch.optim.Optimizer):
        names |= vars(torch.optim.SGD([torch.zeros(1)], lr=0.1)).keys() | {"step"}
    for base in (*either("LightningModule"), *either("LightningDataModule")):
        names |= {*vars(base()), *_SETTINGS} if issubclass(kind, base) else set()
    return frozenset(names)


def _mangled(owner: type, name: str) -> str:
    private = name.startswith("__") and not name.endswith("__")
    return f"_{owner.__name__.lstrip('_')}{name}" if private else name
