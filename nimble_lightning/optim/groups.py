"""Which parameters are trained, and which of them are decayed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import nn

from nimble_lightning.ops.sharded_tensors import cut_alike

Modules = nn.Module | Mapping[str, nn.Module] | Iterable[nn.Module]

_NORM_CLASS = re.compile(r"Norm(\dd)?$")
_DIMENSIONS = "nimble_dimensions"


class TrainedParameter(NamedTuple):
    """A parameter that asks for gradients, once, however many modules share it."""

    name: str
    parameter: nn.Parameter
    owners: tuple[nn.Module, ...]

    @property
    def decays(self) -> bool:
        """Decay is for weights that mix features: a bias or a norm's gain is no better for being small."""
        norm = any(_NORM_CLASS.search(type(owner).__name__) for owner in self.owners)
        dimensions = getattr(self.parameter, _DIMENSIONS, self.parameter.ndim)
        return dimensions > 1 and not norm and not self.name.endswith("bias")


def remember_dimensions(module: nn.Module) -> None:
    """For strategies that flatten parameters before there is an optimizer."""
    for parameter in module.parameters():
        setattr(parameter, _DIMENSIONS, parameter.ndim)


def trained_parameters(modules: Modules) -> list[TrainedParameter]:
    """Every parameter that asks for gradients, in the order the modules define them."""
    found: dict[int, TrainedParameter] = {}
    for prefix, module in _named(modules):
        for path, owner in module.named_modules(prefix=prefix):
            for leaf, parameter in owner.named_parameters(recurse=False):
                if not parameter.requires_grad:
                    continue
                name = f"{path}.{leaf}" if path else leaf
                first = found.get(id(parameter), TrainedParameter(name, parameter, ()))
                found[id(parameter)] = first._replace(owners=(*first.owners, owner))
    return list(found.values())


def parameter_groups(modules: Modules, *, weight_decay: float = 0.0) -> list[dict[str, Any]]:
    """Group what is trained for a torch optimizer: one group that decays and one that does not.

    Sorted by name, so that the same model gives the same optimizer state however it was put together.
    Without decay everything is one group: fewer groups are fewer kernels a step.
    """
    trained = sorted(trained_parameters(modules), key=lambda one: one.name)
    if not weight_decay:
        return as_groups([(trained, {"weight_decay": 0.0})])
    return as_groups(
        [
            ([one for one in trained if one.decays], {"weight_decay": weight_decay}),
            ([one for one in trained if not one.decays], {"weight_decay": 0.0}),
        ]
    )


def as_groups(parts: Iterable[tuple[list[TrainedParameter], dict[str, Any]]]) -> list[dict[str, Any]]:
    """Turn lists of parameters with their settings into torch's groups, leaving out empty ones.

    Those that are cut up over other ranks get groups of their own, or no kernel could take a group at once.
    """
    return [
        {"params": [one.parameter for one in alike], **settings}
        for some, settings in parts
        for alike in cut_alike(some, lambda one: one.parameter)
    ]


def _named(modules: Modules) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(modules, nn.Module):
        yield "", modules
    elif isinstance(modules, Mapping):
        yield from modules.items()
    else:
        for index, module in enumerate(modules):
            yield str(index), module
