"""The most memory a rank needs: what it holds all the time, laid under the timeline of a pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from nimble_lightning.planning.layout import Layout, ParameterSize, Unit, share, units_of
from nimble_lightning.planning.timeline import Moment, Timeline

# Bytes of a number in full precision.
_FULL = 4


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank's device at one time, by what they are for.

    Attributes:
        gathered: Parameters as they are computed with: put together from all ranks, or rounded copies.
        traffic: Gradients on their way to other ranks.
        other: Buffers and the batch.
    """

    parameters: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    gathered: int = 0
    traffic: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class StepModel:
    """What is the same under every strategy.

    Attributes:
        buffers: Bytes of what is neither trained nor cut up.
        step_extra: Bytes an optimizer step takes for a moment, on a rank that has all parameters.
    """

    parameters: tuple[ParameterSize, ...]
    buffers: int = 0
    step_extra: int = 0

    def under(self, layout: Layout) -> StepModel:
        """As ranks have it that compute with rounded parameters, if the layout is one of those."""
        size = layout.gather_bytes
        if not layout.masters or size is None:
            return self
        return replace(self, parameters=tuple(p.rounded(size) for p in self.parameters))

    @property
    def numel(self) -> int:
        return sum(p.whole or p.numel for p in self.parameters)

    @property
    def gradients(self) -> int:
        return sum(p.gradient for p in self.parameters)


def held(model: StepModel, layout: Layout) -> Memory:
    """What a rank holds from step to step."""
    here = {what: what not in layout.offloaded for what in ("parameters", "optimizer")}
    return Memory(
        parameters=here["parameters"] * sum(share(p.size, layout.parameters_over) for p in model.parameters),
        optimizer=here["optimizer"]
        * sum(share(p.optimizer, layout.optimizer_over) for p in model.parameters),
        gathered=layout.gathers * sum(layout.gathered(p) for p in model.parameters if not layout.lets_go(p)),
        other=model.buffers + layout.fixed,
    )


def peak(model: StepModel, timeline: Timeline, layout: Layout, pieces: int = 1) -> Memory:
    """The worst moment of a step.

    Args:
        model: Its parameters, with what the optimizer keeps for them.
        timeline: Of one piece of a batch, computed in the numbers that the layout gathers.
        layout: The strategy.
        pieces: Of a batch; with several, gradients of the earlier ones are there all the time.
    """
    walk = _Gathering if layout.gathers else _Whole
    return max(walk(model, timeline, layout, pieces).memories(), key=lambda memory: memory.total)


class _Whole:
    """A rank that computes with parameters it has; goes along the timeline with the gradients there are."""

    def __init__(self, model: StepModel, timeline: Timeline, layout: Layout, pieces: int) -> None:
        self.model, self.timeline, self.layout = model, timeline, layout
        fixed = held(model, layout)
        self.parameters, self.optimizer, self.kept = fixed.parameters, fixed.optimizer, fixed.gathered
        here = "gradients" not in layout.offloaded
        over = (layout.earlier_over if pieces > 1 else None) or layout.gradients_over
        self.shards = {p.name: here * share(p.gradient, over) for p in model.parameters}
        self.other = fixed.other + timeline.inputs
        self.buckets = layout.buckets * model.gradients
        self.complete = sum(self.shards.values())
        self.all_along = pieces > 1 or layout.lasting
        self.gradients = self.complete if self.all_along else 0

    def memories(self) -> Iterator[Memory]:
        for moment in self.timeline.moments:
            yield self.during(moment)
            getattr(self, moment.what)(moment.name)
        packed = self.layout.packed * self.model.gradients
        here = "optimizer" not in self.layout.offloaded
        copied = sum(p.numel * _FULL for p in self.model.parameters if p.trained) * self.layout.masters
        extra = here * share(self.model.step_extra + copied, self.layout.optimizer_over)
        yield self._afterwards(traffic=packed)
        yield self._afterwards(extra=extra)

    def during(self, moment: Moment) -> Memory:
        # The most of both together, and how much of that is copies, nearly: the two peaks seldom differ.
        copies = moment.with_copies - moment.high
        return self._now(self.gradients, moment.high, copies, self.buckets + self.layout.bucket)

    def enter(self, name: str) -> None: ...

    def leave(self, name: str) -> None: ...

    def back(self, name: str) -> None: ...

    def gradient(self, name: str) -> None:
        if not self.all_along:
            self.gradients += self.shards[name]

    def _now(self, gradients: int, activations: int, gathered: int, traffic: int) -> Memory:
        return Memory(self.parameters, gradients, self.optimizer, activations, gathered, traffic, self.other)

    def _afterwards(self, traffic: int = 0, extra: int = 0) -> Memory:
        """The backward pass is over: gradients are complete, activations are gone."""
        return Memory(
            self.parameters,
            self.complete,
            self.optimizer + extra,
            0,
            self.timeline.copies + self.kept,
            self.buckets + traffic,
            self.other,
        )


class _Gathering(_Whole):
    """A rank that puts parameters together, a unit at a time and one ahead, and lets go of them again."""

    def __init__(self, model: StepModel, timeline: Timeline, layout: Layout, pieces: int) -> None:
        super().__init__(model, timeline, layout, pieces)
        self.units = units_of(model.parameters, layout)
        self.sizes = {name: unit.gathered(layout) for name, unit in self.units.items()}
        self.unit_of = {p.name: unit for unit in self.units.values() for p in unit.parameters}
        self.missing = {name: sum(p.trained for p in unit.parameters) for name, unit in self.units.items()}
        self.order = [m.name for m in timeline.moments if m.what == "enter" and m.name in self.units]
        self.there = {""} & self.units.keys()
        self.whole = self.on_the_way = self.buffer = 0
        self.backward = False

    def during(self, moment: Moment) -> Memory:
        copies = 0 if self.layout.gather_bytes else moment.with_copies - moment.high
        gathered = copies + self.kept + self.buffer + sum(self.sizes[name] for name in self.there)
        traffic = self.whole + self.on_the_way + self.layout.bucket
        return self._now(self.gradients, moment.high, gathered, traffic)

    def enter(self, name: str) -> None:
        if name in self.units and not self.backward:
            self.there.add(name)
            # What it arrived in is kept until the next arrives, after the last one too.
            self.buffer = self.sizes[name] if name else self.buffer

    def leave(self, name: str) -> None:
        # The root's are needed again at once.
        if name in self.units and name and not self.backward and not self._is_soon_used(name):
            self.there.discard(name)

    def back(self, name: str) -> None:
        self.backward, self.buffer = True, 0
        if name in self.units:
            self.there |= {name, *self._one_ahead(name)}

    def gradient(self, name: str) -> None:
        unit = self.unit_of[name]
        self.backward, self.buffer = True, 0
        self.there.add(unit.name)
        self.whole += self._gathered_gradient(next(p for p in unit.parameters if p.name == name))
        self.missing[unit.name] -= 1
        if self.missing[unit.name] == 0:
            self._finish(unit)

    def _finish(self, unit: Unit) -> None:
        """Its gradients are packed, and travel while those of the next unit are computed."""
        self.on_the_way = unit.gradients(self.layout)
        self.whole -= sum(self._gathered_gradient(p) for p in unit.parameters if p.trained)
        self.there.discard(unit.name)
        for parameter in unit.parameters:
            super().gradient(parameter.name)

    def _gathered_gradient(self, parameter: ParameterSize) -> int:
        return self.layout.gathered(parameter)

    def _is_soon_used(self, name: str) -> bool:
        later = self.order[self.order.index(name) + 1 :]
        return self.layout.stays(sum(self.units[unit].numel for unit in later))

    def _one_ahead(self, name: str) -> list[str]:
        """The unit that is gathered meanwhile, to be there in time."""
        before = self.order[: self.order.index(name)][-1:] if name in self.order else []
        return [unit for unit in before if unit]
