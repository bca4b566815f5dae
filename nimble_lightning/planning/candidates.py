"""Which strategies and sizes of a micro-batch fit, which is the fastest, and what to do if none does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nimble_lightning.planning.bound import Bound, Traffic, bound, traffic
from nimble_lightning.planning.machine import Machine
from nimble_lightning.planning.peak_memory import Memory, StepModel, held, peak
from nimble_lightning.planning.strategies import Option
from nimble_lightning.planning.timeline import Timeline

# The rest is for what no tensor holds: the driver, libraries, gaps between tensors.
USABLE = 0.9
# A bound is not known better than that, and what starting kernels takes is in none.
_AS_FAST, _UNFELT = 1.05, 1e-3


@dataclass(frozen=True)
class Candidate:
    """A strategy with a size of micro-batch, and what it would come to on every rank.

    Attributes:
        pieces: Of a batch.
        usable: Bytes of the device that tensors may take.
        at_least: Whether activations were left out, since it does not fit without them.
    """

    option: Option
    micro_batch: int
    pieces: int
    memory: Memory
    sent: Traffic
    bound: Bound
    usable: int
    at_least: bool = False

    @property
    def fits(self) -> bool:
        return self.memory.total <= self.usable


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        batch_size: Samples a rank and step.
        model: Its parameters and what is kept for them.
        machine: What it is to run on.
        number: The type of numbers that matrices are multiplied in.
        cut: Whether a batch may go through in pieces.
    """

    batch_size: int
    model: StepModel
    machine: Machine
    number: str
    cut: bool = True


def micro_batches(batch_size: int, cut: bool = True) -> list[int]:
    """Powers of two up to a batch, and the batch itself."""
    sizes = {2**n for n in range(batch_size.bit_length()) if 2**n < batch_size} if cut else set()
    return sorted({*sizes, batch_size})


def candidates(
    question: Question, option: Option, timeline: Callable[[int], Timeline], sizes: Sequence[int] = ()
) -> list[Candidate]:
    """One strategy with each size of micro-batch; with the smallest alone where nothing can help."""
    sizes = sizes or micro_batches(question.batch_size, question.cut)
    usable = int(USABLE * question.machine.memory)
    if held(question.model.under(option.layout), option.layout).total > usable:
        # Not worth a look at its activations.
        return [replace(candidate(question, option, Timeline(sizes[0])), at_least=True)]
    return [candidate(question, option, timeline(size)) for size in sizes]


def candidate(question: Question, option: Option, timeline: Timeline) -> Candidate:
    """A strategy with one size of micro-batch: its peak memory, traffic and time for a step."""
    pieces = -(-question.batch_size // timeline.samples)
    machine, layout = question.machine, option.layout
    model = question.model.under(layout)
    passes = question.batch_size / timeline.samples
    sent = replace(traffic(model, layout, pieces), activations=round(timeline.sent * passes))
    flops = timeline.flops * passes
    return Candidate(
        option,
        timeline.samples,
        pieces,
        peak(model, timeline, layout, pieces),
        sent,
        bound(model, layout, machine, sent, flops, question.number),
        int(USABLE * machine.memory),
    )


def best(found: Sequence[Candidate]) -> Candidate | None:
    """The fastest that fits; of those that are about as fast, the simplest strategy in the fewest pieces."""
    fitting = [one for one in found if one.fits]
    if not fitting:
        return None
    fastest = min(one.bound.seconds for one in fitting)
    fast = [one for one in fitting if one.bound.seconds <= _AS_FAST * fastest + _UNFELT]
    return min((one for one in fast if one.option is fast[0].option), key=lambda one: one.pieces)


def ranks_needed(fits: Callable[[int], bool], nodes: int, most: int = 4096) -> int | None:
    """The smallest number of nodes, doubled until it fits."""
    while nodes <= most:
        if fits(nodes):
            return nodes
        nodes *= 2
    return None
