"""How a strategy lays a model out over ranks: what is cut up, what is gathered again and when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class ParameterSize:
    """One parameter, and what training adds to it.

    Attributes:
        numel: Its elements.
        itemsize: Bytes of one.
        optimizer: Bytes the optimizer keeps for it between steps.
        trained: Whether it gets a gradient.
        whole: Its elements on all ranks that its layer is cut over; 0 where no other has any.
    """

    name: str
    numel: int
    itemsize: int
    optimizer: int = 0
    trained: bool = True
    whole: int = 0

    @property
    def size(self) -> int:
        return self.numel * self.itemsize

    @property
    def gradient(self) -> int:
        return self.size if self.trained else 0

    def rounded(self, itemsize: int) -> ParameterSize:
        """With the full one where the optimizer's state is."""
        return replace(self, itemsize=itemsize, optimizer=self.optimizer + self.size)


@dataclass(frozen=True)
class Layout:
    """A strategy on some number of ranks.

    Attributes:
        ranks: Those with samples of their own.
        parameters_over: Among how many each parameter is cut up; 1 where each has all.
        gradients_over: The same for gradients between steps.
        optimizer_over: The same for the optimizer's state.
        units: Modules that are gathered as a whole, by name; all that is in none of them belongs to the root.
        gather_bytes: Of an element while it is gathered; None: as it is stored.
        reduce_bytes: Of an element of a gradient on its way; None: as it is stored.
        keeps: Whether what was gathered for the forward pass stays for the backward pass.
        keeps_for: What is used again before so many elements have passed stays as well.
        keeps_up_to: Parameters of no more elements are never let go.
        buckets: Whether there is a second place for all gradients, from which they travel.
        packed: Whether they are copied once more, after the backward pass.
        bucket: Bytes from which they travel instead, during a pass.
        earlier_over: Among how many ranks gradients of earlier pieces are cut up; None: as all others.
        lasting: Whether gradients have a place from step to step.
        fixed: Bytes of whatever else there is.
        offloaded: What waits in the memory of the host: parameters, gradients, optimizer.
        masters: Whether ranks compute with copies of the parameters; the full ones are optimizer state, and
            get a copy of the gradients.
        layers_over: How many neighbours work on the same samples, each on its part of every layer.
    """

    ranks: int = 1
    parameters_over: int = 1
    gradients_over: int = 1
    optimizer_over: int = 1
    units: tuple[str, ...] = ()
    gather_bytes: int | None = None
    reduce_bytes: int | None = None
    keeps: bool = False
    keeps_for: int = 0
    keeps_up_to: int = 0
    buckets: bool = False
    packed: bool = False
    bucket: int = 0
    earlier_over: int | None = None
    lasting: bool = False
    fixed: int = 0
    offloaded: tuple[str, ...] = ()
    masters: bool = False
    layers_over: int = 1

    @property
    def gathers(self) -> bool:
        return self.parameters_over > 1

    def lets_go(self, parameter: ParameterSize) -> bool:
        return parameter.numel > self.keeps_up_to

    def stays(self, later: int) -> bool:
        """Whether what so many elements come after in a forward pass is kept for the backward pass."""
        return self.keeps or 2 * later < self.keeps_for

    def gathered(self, parameter: ParameterSize) -> int:
        """Bytes of one that is put together."""
        return parameter.numel * (self.gather_bytes or parameter.itemsize)


@dataclass
class Unit:
    """Parameters that are gathered and let go together."""

    name: str
    parameters: list[ParameterSize] = field(default_factory=list)

    @property
    def numel(self) -> int:
        return sum(p.numel for p in self.parameters)

    def gathered(self, layout: Layout) -> int:
        return sum(layout.gathered(p) for p in self.parameters if layout.lets_go(p))

    def gradients(self, layout: Layout) -> int:
        return sum(p.numel * (layout.reduce_bytes or p.itemsize) for p in self.parameters if p.trained)


def units_of(parameters: Iterable[ParameterSize], layout: Layout) -> dict[str, Unit]:
    """The units by name, the root "" among them; a parameter is in the innermost that holds it."""
    units = {name: Unit(name) for name in ("", *layout.units)}
    innermost = sorted(layout.units, key=len, reverse=True)
    for parameter in parameters:
        name = next((unit for unit in innermost if parameter.name.startswith(f"{unit}.")), "")
        units[name].parameters.append(parameter)
    return {name: unit for name, unit in units.items() if unit.parameters}


def share(size: int, parts: int) -> int:
    """Of the rank that has most."""
    return -(-size // parts)
