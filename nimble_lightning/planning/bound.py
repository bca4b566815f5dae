"""A step cannot be faster than this, however well everything overlaps."""

from __future__ import annotations

from dataclasses import dataclass

from nimble_lightning.planning.layout import Layout, share
from nimble_lightning.planning.machine import Machine
from nimble_lightning.planning.peak_memory import StepModel
from nimble_lightning.planning.traffic import Traffic

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
