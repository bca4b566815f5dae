"""What a user's objects remember besides weights: kept with checkpoints, or named."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import lightning as L
import torch
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, Sampler

from nimble_lightning.checkpoint.contents.object_attributes import Attributes
from nimble_lightning.data.fetch import READ_AHEAD
from nimble_lightning.ops.lightning_packages import like
from nimble_lightning.ops.object_members import is_users, reachable
from nimble_lightning.ranks import gathered_by_first, world_size

log = logging.getLogger(__name__)

# Attributes of a trainer that are ours, and those that its data is under.
_OURS = ("trial", "device_mesh", "log", "_sink")
_DATA = ("train_data", "train_dataset", "eval_data", "val_data", "eval_dataset", "test_data", "test_dataset")
_READERS = (Dataset, DataLoader, Sampler)
_MOST_NAMED = 5
# A list of so many is one of samples.
_MANY = 1000
_ROOTS = ("self", "datamodule", "optimizer")
_KEEP_PLAIN = (
    "keep plain values, arrays, tensors or random generators there, or define state_dict() and "
    "load_state_dict()"
)


class UserState:
    """The attributes of the trainer or LightningModule, its datamodule, its optimizers and its Python module.

    Args:
        trainer: With its optimizers made.
        module: What is trained.
    """

    def __init__(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._said: set[str] = set()
        self._attributes: Attributes | None = None
        try:
            self._attributes = _attributes_of(trainer, module)
        except Exception as error:  # objects may be of any kind, and none of them ends a run
            self._say(f"attributes of the trainer are not restored after a kill: {_reason(error)}")

    def states(self) -> list[dict[str, Any]]:
        """Of each rank, on the first one. Every rank must call this."""
        state: dict[str, Any] = {}
        if self._attributes is not None:
            try:
                state = self._attributes.state()
                self._name(self._attributes)
            except Exception as error:
                self._say(f"attributes of the trainer are not restored after a kill: {_reason(error)}")
        return gathered_by_first(state)

    def restore(self, states: list[dict[str, Any]]) -> None:
        """Put back what this rank had."""
        rank = torch.distributed.get_rank() if world_size() > 1 else 0
        if self._attributes is None or not states:
            return
        if rank >= len(states):
            self._say(f"rank {rank} was not there before: attributes begin there as pre_process left them")
        elif states[rank]:
            try:
                if lost := self._attributes.restore(states[rank]):
                    self._say(f"{_list(lost)}: not restored, for pre_process makes no such thing now")
            except Exception as error:
                self._say(f"attributes of the trainer were not all restored: {_reason(error)}")

    def _name(self, attributes: Attributes) -> None:
        aside = attributes.not_kept_aside.items()
        variables = {path: kind for path, kind in aside if not path.startswith(_ROOTS)}
        self._name_new(attributes.not_kept, _KEEP_PLAIN)
        self._name_new(variables, "keep it in an attribute of the trainer")
        self._name_new({path: kind for path, kind in aside if path not in variables}, READ_AHEAD)

    def _name_new(self, found: Mapping[str, str], hint: str) -> None:
        new = {path: kind for path, kind in found.items() if path not in self._said}
        self._said |= new.keys()
        if new:
            names = _list(f"{path} ({kind})" for path, kind in new.items())
            log.warning("not restored after a kill: %s; %s", names, hint)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning(text)


def _attributes_of(trainer: L.Trainer, module: L.LightningModule) -> Attributes:
    user = getattr(module, "user", None)
    # Our own adapter, or a LightningModule of somebody's.
    ours = type(module).__module__.startswith("nimble_lightning.")
    owner = user.object if ours and user is not None else module
    roots: dict[str, Any] = {"self": owner}
    data: Any = getattr(trainer, "datamodule", None)
    if (
        data is not None
        and is_users(data)
        and type(data).state_dict is like(data, "LightningDataModule").state_dict
    ):
        roots["datamodule"] = data
    for number, optimizer in enumerate(trainer.optimizers):
        roots["optimizer" + (f"[{number}]" if number else "")] = optimizer
    elsewhere = {id(module), *map(id, trainer.optimizers)}
    elsewhere |= {id(config.scheduler) for config in trainer.lr_scheduler_configs}
    for part in module.modules():
        elsewhere |= {id(tensor) for tensor in part._parameters.values()}
        persistent = part._buffers.keys() - part._non_persistent_buffers_set
        elsewhere |= {id(part._buffers[name]) for name in persistent}
    # An optimizer inside another one is a part of its state.
    inner = reachable((f"{n}", o) for n, o in enumerate(trainer.optimizers))
    elsewhere |= {id(thing) for _, thing, _ in inner if issubclass(type(thing), Optimizer)}
    aside = _reading(roots, owner)
    # Others may use what is in a module, also between two runs in one process.
    file = sys.modules.get(type(owner).__module__)
    if file is not None and is_users(owner) and hasattr(file, "__file__"):
        roots[file.__name__] = file
        aside.add(id(file))
    return Attributes(roots, elsewhere=elsewhere, without=_OURS, aside=aside)


def _reading(roots: dict[str, Any], owner: Any) -> set[int]:
    """Ids of what data is read with: datasets, loaders, samplers, and the objects that are within them."""
    readers: list[Any] = [
        thing for _, thing, _ in reachable(roots.items()) if issubclass(type(thing), _READERS)
    ]
    data = [getattr(owner, name, None) for name in _DATA]
    readers += [thing for thing in data if is_users(thing) or (type(thing) is list and len(thing) > _MANY)]
    known = {id(root) for root in roots.values()}
    within = reachable((("", thing) for thing in readers), closed=lambda thing: id(thing) in known)
    found = {id(thing) for _, thing, _ in within if is_users(thing)}
    return (found | {id(thing) for thing in readers}) - known


def _list(names: Iterable[str]) -> str:
    all_of_them = list(names)
    more = len(all_of_them) - _MOST_NAMED
    return ", ".join(all_of_them[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
