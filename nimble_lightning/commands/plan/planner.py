"""Puts the question to every strategy that could be chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException

from nimble_lightning.adapters.model_settings import enable_gradient_checkpointing
from nimble_lightning.commands.plan.traced_model import Prepared
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.batches import can_split, size_of, split
from nimble_lightning.planning.candidates import (
    Candidate,
    Question,
    best,
    candidates,
    micro_batches,
    ranks_needed,
)
from nimble_lightning.planning.machine import Machine
from nimble_lightning.planning.strategies import Option, Setting, alternatives, option
from nimble_lightning.planning.timeline import Timeline
from nimble_lightning.planning.trace import Numbers, measure, trace
from nimble_lightning.usage.peaks import number_of
from nimble_lightning.worker.lightning_objects import made

_MOST_NODES = 4096


@dataclass(frozen=True)
class PlannedStep:
    """What came of a question.

    Attributes:
        question: It.
        candidates: Every strategy with every size, the one that was asked for first.
        chosen: The fastest that fits.
        remedies: What would fit where nothing does: what to change, and what that comes to.
        flops: Operations of a rank in a step.
        tokens: In a batch of a rank, where it has `input_ids`.
    """

    question: Question
    candidates: list[Candidate]
    chosen: Candidate | None
    remedies: list[tuple[str, Candidate]]
    flops: int
    tokens: int | None


class Planner:
    """One trainer, ready to be traced.

    Args:
        prepared: The trainer with its first batch.
        lightning: What was asked of lightning.Trainer.
        machine: What it is to run on.
    """

    def __init__(self, prepared: Prepared, lightning: Mapping[str, Any], machine: Machine) -> None:
        self.prepared, self.lightning, self.machine = prepared, lightning, machine
        self.module = prepared.subject.module
        self.precision = str(self.lightning.get("precision") or "32-true")
        self.model = measure(prepared.subject, prepared.mode)
        self._block = _largest_block(self.module)
        self._passes = cache(self._traced)

    def answer(self) -> PlannedStep:
        batch = self.prepared.batch
        tf32 = torch.get_float32_matmul_precision() != "highest"
        cut = self.prepared.ours and can_split(batch)
        number = number_of(self.precision, tf32=tf32)
        question = Question(size_of(batch), self.model, self.machine, number, cut)
        options = self._options(self.machine)
        found = self._tried(question, options)
        chosen = best(found)
        remedies = [] if chosen else list(self._remedies(question, found))
        seen = next((c for c in found if not c.at_least), None)
        flops = self._timelines(seen.option.numbers)(question.batch_size).flops if seen else 0
        ids = batch.get("input_ids") if isinstance(batch, Mapping) else None
        return PlannedStep(question, found, chosen, remedies, flops, None if ids is None else ids.numel())

    def _options(self, machine: Machine) -> list[Option]:
        """The strategy that was asked for; where that was left open, those there are."""
        strategy = self.lightning.get("strategy") or "auto"
        setting = self._setting(machine)
        asked = option(made(strategy), setting)
        if strategy != "auto" or machine.ranks == 1:
            return [asked]
        return [asked, *self._others(machine, [asked])]

    def _others(self, machine: Machine, options: list[Option]) -> list[Option]:
        names = {one.name for one in options}
        return [o for o in alternatives(self._setting(machine), self._block) if o.name not in names]

    def _setting(self, machine: Machine) -> Setting:
        noted = self.prepared.noted
        return Setting(
            self.module,
            machine,
            self.precision,
            self.prepared.ours,
            noted.names(self.module),
            noted.gathered_in,
        )

    def _tried(self, question: Question, options: list[Option]) -> list[Candidate]:
        return [c for o in options for c in candidates(question, o, self._timelines(o.numbers))]

    def _timelines(self, numbers: Numbers) -> Callable[[int], Timeline]:
        """The pass over any number of samples: two are traced, the others lie on the line through them."""
        smallest = 1 if can_split(self.prepared.batch) else size_of(self.prepared.batch)

        def timeline(samples: int) -> Timeline:
            first = self._passes(numbers, smallest)
            if samples == smallest:
                return first
            second = self._passes(numbers, min(2 * smallest, size_of(self.prepared.batch)))
            return first.of(samples, second) if first.goes_like(second) else self._passes(numbers, samples)

        return timeline

    def _traced(self, numbers: Numbers, samples: int) -> Timeline:
        prepared, batch = self.prepared, self.prepared.batch
        piece = batch if samples >= size_of(batch) else next(split(batch, samples))
        try:
            return trace(prepared.subject, piece, prepared.mode, numbers)
        except DynamicOutputShapeException as error:
            raise RequestError(
                f"The shapes of a step depend on values, which a plan has none of: {error.func} gives as "
                "many rows as it finds.\nA mask in brackets, x[mask], can be planned."
            ) from None

    def _remedies(self, question: Question, found: list[Candidate]) -> Iterator[tuple[str, Candidate]]:
        """Each tried by itself, the gentlest first."""
        others = self._others(self.machine, [c.option for c in found])
        if one := best(self._tried(question, others)):
            yield " ".join(one.option.overrides), one
        if not self.prepared.ours and can_split(self.prepared.batch):
            smaller = [n for n in micro_batches(question.batch_size) if n < question.batch_size]
            sizes = [c for o in self._options(self.machine) for c in self._sized(question, o, smaller)]
            if one := best(sizes):
                yield f"a batch of {one.micro_batch}", one
        yield from self._offloaded(question)
        yield from self._on_more(question)
        yield from self._recomputed(question)

    def _sized(self, question: Question, one: Option, sizes: list[int]) -> list[Candidate]:
        """Whole batches of other sizes."""
        timeline = self._timelines(one.numbers)
        asked = [replace(question, batch_size=size, cut=False) for size in sizes]
        return [found for each in asked for found in candidates(each, one, timeline)]

    def _offloaded(self, question: Question) -> Iterator[tuple[str, Candidate]]:
        kept = ("parameters", "gradients", "optimizer")
        whole = [o for o in self._everything(self.machine) if o.name.startswith("fsdp") and o.layout.gathers]
        waiting = [replace(o, layout=replace(o.layout, offloaded=kept)) for o in whole]
        if one := best(self._tried(question, waiting)):
            yield " ".join([*one.option.overrides, "lightning.strategy.cpu_offload=true"]), one

    def _on_more(self, question: Question) -> Iterator[tuple[str, Candidate]]:
        found: list[Candidate] = []

        def fits(nodes: int) -> bool:
            more = replace(self.machine, nodes=nodes)
            one = best(self._tried(replace(question, machine=more), self._everything(more)))
            found[:] = [] if one is None else [one]
            return one is not None

        nodes = ranks_needed(fits, self.machine.nodes * 2, _MOST_NODES // self.machine.a_node)
        if nodes:
            yield " ".join([*found[0].option.overrides, f"lightning.num_nodes={nodes}"]), found[0]

    def _recomputed(self, question: Question) -> Iterator[tuple[str, Candidate]]:
        """The last, since the model is not what it was afterwards."""
        try:
            enable_gradient_checkpointing(self.module)
        except RequestError:
            return
        self._passes.cache_clear()
        if one := best(self._tried(question, self._everything(self.machine))):
            yield " ".join([*one.option.overrides, "model.gradient_checkpointing=true"]), one

    def _everything(self, machine: Machine) -> list[Option]:
        options = self._options(machine)
        return [*options, *self._others(machine, options)]


def _largest_block(module: nn.Module) -> int:
    """Parameters of the largest block that is repeated; 0 if none is."""
    repeated = [
        child
        for part in module.modules()
        if isinstance(part, nn.ModuleList | nn.Sequential)
        for child in part
        if sum(type(other) is type(child) for other in part) > 1
    ]
    return max((sum(p.numel() for p in block.parameters()) for block in repeated), default=0)
