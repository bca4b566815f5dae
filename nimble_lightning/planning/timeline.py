"""What one pass over a batch holds on to, moment by moment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple


class Moment(NamedTuple):
    """Something happened, and this much memory was in use on the way to it.

    Attributes:
        what: `enter` and `leave`: a module, forward; `back`: its outputs have their gradients; `gradient`: a
            parameter has its own.
        name: Of the module or parameter.
        high: The most bytes of activations since the moment before: all tensors but parameters, their
            gradients, rounded copies of them, and buffers.
        with_copies: The same with the rounded copies of parameters that autocast makes.
    """

    what: str
    name: str
    high: int
    with_copies: int


@dataclass(frozen=True)
class Timeline:
    """A forward and a backward pass.

    Attributes:
        samples: In the batch.
        inputs: Bytes of the batch itself.
        flops: Floating-point operations, all that is done twice included.
        copies: Bytes of rounded copies of parameters that are still there at the end.
        sent: Bytes sent on the way to ranks that the same layers are cut over.
    """

    samples: int
    inputs: int = 0
    flops: int = 0
    copies: int = 0
    moments: tuple[Moment, ...] = ()
    sent: int = 0

    def of(self, samples: int, larger: Timeline) -> Timeline:
        """The pass over another number of samples, from this one and a larger one of the same model.

        What a model remembers grows by the same amount with each sample, from whatever is the same for all.
        """
        if samples == self.samples:
            return self
        steps = (samples - self.samples) / (larger.samples - self.samples)

        def grown(one: int, other: int) -> int:
            return round(one + steps * (other - one))

        moments = tuple(
            one._replace(
                high=grown(one.high, other.high), with_copies=grown(one.with_copies, other.with_copies)
            )
            for one, other in zip(self.moments, larger.moments, strict=True)
        )
        return replace(
            self,
            samples=samples,
            inputs=grown(self.inputs, larger.inputs),
            flops=grown(self.flops, larger.flops),
            sent=grown(self.sent, larger.sent),
            moments=moments,
        )

    def goes_like(self, other: Timeline) -> bool:
        """Whether the same happened in the same order."""
        return [m[:2] for m in self.moments] == [m[:2] for m in other.moments]
