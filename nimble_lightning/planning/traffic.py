"""What a rank sends in a step, by kind of collective: bytes that no algorithm can do without."""

from __future__ import annotations

from dataclasses import dataclass, fields

from nimble_lightning.planning.layout import Layout, units_of
from nimble_lightning.planning.peak_memory import StepModel


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
