"""What a Lightning strategy does by itself, so that nobody else asks for its class."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Averages(Enum):
    """Who makes one gradient of those of all ranks."""

    US = "us"  # after the last piece, in one exchange
    MODEL = "model"  # in its backward, where ranks wait for each other: no batch can be redone
    ENGINE = "engine"  # which steps and clips as well, and keeps the gradients to itself
    NOBODY = "nobody"


@dataclass(frozen=True)
class StrategyTraits:
    """The answers for one strategy.

    Args:
        averages: Who makes one gradient of those of all ranks.
        sharded: Whether a rank has parts of the weights only.
        flat: Whether these parts are of FSDP1, which do not know what they are parts of.
        plain_steps: Whether it adds nothing to torch's backward and step.
    """

    averages: Averages
    sharded: bool = False
    flat: bool = False
    plain_steps: bool = True

    @property
    def redoable(self) -> bool:
        """Whether a batch may be tried again in smaller pieces after memory ran out."""
        return self.averages in (Averages.US, Averages.NOBODY)


# A strategy is known by its name or that of a class it is derived from: `pytorch_lightning` has its own.
_TRAITS = {
    "SingleDeviceStrategy": StrategyTraits(Averages.NOBODY),
    "DeepSpeedStrategy": StrategyTraits(Averages.ENGINE, sharded=True, plain_steps=False),
    "DDPStrategy": StrategyTraits(Averages.US),
    "FSDPStrategy": StrategyTraits(Averages.MODEL, sharded=True, flat=True),
    "ModelParallelStrategy": StrategyTraits(Averages.MODEL, sharded=True),
}
_UNKNOWN = StrategyTraits(Averages.MODEL, plain_steps=False)


def traits_of(strategy: Any) -> StrategyTraits:
    """Those of the nearest class that is known; of any other nothing is taken for granted."""
    known = (_TRAITS[each.__name__] for each in type(strategy).__mro__ if each.__name__ in _TRAITS)
    return next(known, _UNKNOWN)
