"""A step cannot be faster than this, however well everything overlaps: what is computed, sent and updated."""

from __future__ import annotations

from dataclasses import dataclass, fields

from nimble_lightning.planning.layout import Layout, share, units_of
from nimble_lightning.planning.machine import Machine
from nimble_lightning.planning.peak_memory import StepModel

FORMULA = "the longest of: operations / peak, bytes sent / link, optimizer's bytes / memory bandwidth"


@dataclass(frozen=True)
class Bound:
    """Seconds a step takes at least, for each of the things it is made of.

    Attributes:
        compute: Operations at the device's peak; None where the peak is not known.
        communication: Bytes sent over the slowest link on their way.
        update: Reading and writing parameters, gradients and optimizer state once.
    """

    compute: float | None
    communication: float
    update: float

    @property
    def seconds(self) -> float:
        return max(self.compute or 0.0, self.communication, self.update)

    @property
    def by(self) -> str:
        """What sets it."""
        parts = {"compute": self.compute or 0.0, "communication": self.communication, "update": self.update}
        return max(parts, key=lambda name: parts[name])


def bound(
    model: StepModel, layout: Layout, machine: Machine, sent: Traffic, flops: float, number: str
) -> Bound:
    """The bound of an optimizer step.

    Args:
        model: Its parameters.
        layout: The strategy.
        machine: What it runs on.
        sent: What a rank sends.
        flops: Operations of a rank in a step.
        number: The type of numbers that matrices are multiplied in.
    """
    speed, _ = machine.flops(number)
    trained = [p for p in model.parameters if p.trained]
    # Parameters and state are read and written, gradients are read.
    moved = sum(2 * share(p.size + p.optimizer, layout.optimizer_over) for p in trained)
    moved += sum(share(p.gradient, layout.optimizer_over) for p in trained)
    return Bound(
        flops / speed if speed else None,
        _seconds(sent, layout, machine),
        moved / machine.bandwidth,
    )


def _seconds(sent: Traffic, layout: Layout, machine: Machine) -> float:
    """A group within a node uses its links; one over several nodes waits for the network.

    Between nodes only what leaves a node has to pass, and each device has its own way out.
    """
    # Neighbours share layers, so that a node has fewer with other samples.
    a_node = max(1, machine.a_node // layout.layers_over)
    inside, between = _ways(sent, layout, a_node)
    if layout.layers_over <= machine.a_node:
        inside += sent.activations
    else:
        between += sent.activations / machine.a_node
    return max(inside / machine.inside, between / machine.between)


def _ways(sent: Traffic, layout: Layout, a_node: int) -> tuple[float, float]:
    """What a rank sends of parameters and gradients within a node, and what between nodes."""
    cut = sent.all_gather + sent.reduce_scatter
    both = cut + sent.all_reduce
    if layout.ranks <= a_node:
        return both, 0.0
    if 1 < max(layout.parameters_over, layout.optimizer_over) <= a_node:
        return cut, sent.all_reduce
    # In a hierarchy of rings, what a node sends is spread over its devices.
    return both if a_node > 1 else 0.0, both / a_node


@dataclass(frozen=True)
class Traffic:
    """Bytes one rank sends in one optimizer step.

    Attributes:
        activations: To ranks that the same layers are cut over; the others go to those with other samples.
    """

    all_gather: int = 0
    reduce_scatter: int = 0
    all_reduce: int = 0
    activations: int = 0

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


def traffic(model: StepModel, layout: Layout, pieces: int = 1) -> Traffic:
    """What is sent in a step.

    Of n ranks that add up or put together S bytes each sends S (n-1)/n; adding up for everybody is both.

    Args:
        model: Its parameters.
        layout: The strategy.
        pieces: Of a batch; where parameters are gathered, they are gathered for each.
    """
    gradients = sum(p.numel * (layout.reduce_bytes or p.itemsize) for p in model.parameters if p.trained)
    if not layout.gathers:
        if layout.optimizer_over == 1:
            return Traffic(all_reduce=2 * _sent(gradients, layout.ranks))
        parameters = sum(layout.gathered(p) for p in model.parameters if p.trained)
        # Where those of earlier pieces are whole, they travel once.
        often = 1 if layout.earlier_over == 1 else pieces
        return Traffic(_sent(parameters, layout.ranks), _sent(gradients, layout.ranks) * often)
    group, copies = layout.parameters_over, layout.ranks // layout.parameters_over
    gathered = later = 0
    for unit in reversed(units_of(model.parameters, layout).values()):
        gathered += unit.gathered(layout) * (1 if not unit.name or layout.stays(later) else 2)
        later += unit.numel
    return Traffic(
        _sent(gathered, group) * pieces,
        _sent(gradients, group) * pieces,
        2 * _sent(gradients // group, copies) * pieces,
    )


def _sent(size: int, ranks: int) -> int:
    return size * (ranks - 1) // ranks
