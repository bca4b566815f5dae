from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning_cases import UNITS, empty, llama
from torch import nn
from torch.distributed.fsdp.wrap import ModuleWrapPolicy, size_based_auto_wrap_policy

from nimble_lightning.errors import RequestError
from nimble_lightning.planning.bound import Bound, Traffic, bound, traffic
from nimble_lightning.planning.candidates import Candidate, best, micro_batches, ranks_needed
from nimble_lightning.planning.layout import Layout, ParameterSize, units_of
from nimble_lightning.planning.machine import GIB, Machine, machine
from nimble_lightning.planning.peak_memory import Memory, StepModel, held, peak
from nimble_lightning.planning.strategies import Option, Setting, alternatives, option
from nimble_lightning.planning.timeline import Moment, Timeline
from nimble_lightning.planning.trace import Numbers

pytestmark = pytest.mark.filterwarnings("default")
# Ten layers of 1,000 parameters under Adam.
MODEL = StepModel(tuple(ParameterSize(f"layers.{n}.weight", 1000, 4, 8000) for n in range(10)))
LAYERS = tuple(f"layers.{n}" for n in range(10))
FORWARD = [Moment(what, f"layers.{n}", 100 * n, 100 * n) for n in range(10) for what in ("enter", "leave")]
BACKWARD = [
    Moment(what, f"layers.{n}{'' if what == 'back' else '.weight'}", 100 * n, 100 * n)
    for n in reversed(range(10))
    for what in ("back", "gradient")
]
PASS = Timeline(1, 0, 60_000, 0, (*FORWARD, *BACKWARD, Moment("leave", "", 0, 0)))
HOST = Machine("H100", 80 * GIB, 3.35e12, 450e9, 50e9, 8, 4)


def cut(ranks: int, **more: object) -> Layout:
    return Layout(ranks, ranks, ranks, ranks, LAYERS, **more)  # type: ignore[arg-type]


def test_every_rank_of_ddp_holds_everything_to_the_byte() -> None:
    memory = held(MODEL, Layout(64))
    assert (memory.parameters, memory.optimizer) == (40_000, 80_000)
    assert peak(MODEL, PASS, Layout(64)).gradients == 40_000


@pytest.mark.parametrize("ranks", [2, 8, 1024, 4096])
def test_a_rank_of_fsdp_holds_its_part_to_the_byte(ranks: int) -> None:
    memory = held(MODEL, cut(ranks))
    part = math.ceil(4000 / ranks)
    assert (memory.parameters, memory.optimizer) == (10 * part, 10 * math.ceil(8000 / ranks))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4096), st.integers(1, 4096))
def test_more_ranks_never_hold_more(one: int, other: int) -> None:
    few, many = sorted((one, other))
    assert held(MODEL, cut(many)).total <= held(MODEL, cut(few)).total


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 64), st.integers(1, 64))
def test_more_samples_never_take_less(one: int, other: int) -> None:
    larger = replace(PASS, samples=2, moments=tuple(m._replace(high=2 * m.high) for m in PASS.moments))
    few, many = sorted((one, other))
    for layout in (Layout(8), cut(8)):
        totals = [peak(MODEL, PASS.of(n, larger), layout).total for n in (few, many)]
        assert totals[0] <= totals[1]


def test_one_unit_is_gathered_ahead_and_no_more() -> None:
    memory = peak(MODEL, replace(PASS, moments=tuple(FORWARD)), cut(10))
    assert memory.gathered == 8000
    # All of them, and what the last one arrived in.
    assert peak(MODEL, PASS, cut(10, keeps=True)).gathered == 44_000


def test_without_units_the_whole_model_is_gathered() -> None:
    assert peak(MODEL, PASS, replace(cut(10), units=())).gathered == 40_000


def test_gradients_of_earlier_pieces_are_there_all_along() -> None:
    forward = replace(PASS, moments=tuple(FORWARD))
    busy = replace(forward, moments=(Moment("leave", "", 10**6, 10**6),))
    assert peak(MODEL, busy, Layout(8), pieces=1).gradients == 0
    assert peak(MODEL, busy, Layout(8), pieces=2).gradients == 40_000
    assert peak(MODEL, busy, cut(8), pieces=2).gradients == 10 * 500


def test_what_waits_on_the_host_is_not_on_the_device() -> None:
    away = cut(8, offloaded=("parameters", "gradients", "optimizer"))
    assert held(MODEL, away).total == 0
    assert peak(MODEL, PASS, away).total < peak(MODEL, PASS, cut(8)).total


def test_a_ring_sends_what_it_must() -> None:
    assert traffic(MODEL, Layout(8)) == Traffic(all_reduce=2 * 40_000 * 7 // 8)
    whole = traffic(MODEL, cut(8))
    assert (whole.all_gather, whole.reduce_scatter) == (2 * 40_000 * 7 // 8, 40_000 * 7 // 8)
    assert traffic(MODEL, cut(8, gather_bytes=2, reduce_bytes=2)).total == whole.total // 2
    assert traffic(MODEL, cut(8, keeps=True)).all_gather == whole.all_gather // 2
    assert traffic(MODEL, cut(8), pieces=3).total == 3 * whole.total
    assert traffic(MODEL, Layout(1)).total == 0


def test_a_group_in_each_node_sends_only_its_part_between_nodes() -> None:
    hybrid = traffic(MODEL, Layout(32, 8, 8, 8, LAYERS))
    assert hybrid.all_reduce == 2 * (40_000 // 8 * 3 // 4)
    assert hybrid.reduce_scatter == 40_000 * 7 // 8


def test_rounded_parameters_keep_full_ones_beside_the_optimizer() -> None:
    zero = Layout(8, 1, 8, 8, gather_bytes=2, reduce_bytes=2, masters=True)
    memory = held(MODEL.under(zero), zero)
    assert memory.parameters == 20_000
    assert memory.optimizer == (40_000 + 80_000) // 8


def test_a_step_takes_as_long_as_its_longest_part() -> None:
    found = bound(MODEL, Layout(8), replace(HOST, nodes=1), Traffic(all_reduce=450_000), 989.4e6, "bf16")
    assert found.compute == pytest.approx(1e-6)
    assert found.communication == pytest.approx(1e-6)
    assert found.update == pytest.approx((2 * 120_000 + 40_000) / 3.35e12)
    assert found.seconds == pytest.approx(1e-6)
    # Four nodes of eight ports each.
    between = bound(MODEL, Layout(32), HOST, Traffic(all_reduce=400_000_000), 0, "bf16")
    assert between.communication == pytest.approx(0.4e9 / 8 / 50e9)
    assert between.by == "communication"


def test_ranks_that_share_layers_meet_within_a_node_and_the_others_between_nodes() -> None:
    activations = Traffic(activations=450_000_000)
    assert bound(MODEL, Layout(4, layers_over=8), HOST, activations, 0, "bf16").communication == 1e-3
    assert bound(MODEL, Layout(2, layers_over=16), HOST, activations, 0, "bf16").communication == (
        pytest.approx(0.45e9 / 8 / 50e9)
    )
    # No two ranks of a node have other samples, so each sends all it has through its own port.
    apart = bound(MODEL, Layout(4, layers_over=8), HOST, Traffic(all_reduce=400_000_000), 0, "bf16")
    assert apart.communication == pytest.approx(0.4e9 / 50e9)
    # Two ranks of a node have, so they meet first.
    pairs = bound(MODEL, Layout(8, layers_over=4), HOST, Traffic(all_reduce=400_000_000), 0, "bf16")
    assert pairs.communication == pytest.approx(0.4e9 / 2 / 50e9)


def test_an_unknown_peak_bounds_nothing() -> None:
    assert bound(MODEL, Layout(1), HOST, Traffic(), 1e15, "int3").compute is None


def test_devices_and_networks_are_looked_up() -> None:
    assert machine("A100-SXM4-40GB", "IB-HDR", 8, 2).memory == 40 * GIB
    assert machine("A100", "IB-HDR", 8, 2).between == 25e9
    for device, network, said in (("H1000", "IB-NDR", "--device"), ("H100", "pigeons", "--network")):
        with pytest.raises(RequestError, match=said):
            machine(device, network, 1, 1)


# --- strategies


def setting(module: nn.Module, ranks: Machine = HOST, precision: str = "bf16-mixed") -> Setting:
    return Setting(module, ranks, precision, ours=True)


@pytest.mark.parametrize("how", ["class", "size"])
def test_fsdps_units_are_those_its_policy_would_wrap(how: str) -> None:
    from lightning.pytorch.strategies import FSDPStrategy

    subject, _ = empty(llama)
    block = subject.module.model.layers[0]
    size = sum(p.numel() for p in block.parameters())
    policy = (
        ModuleWrapPolicy([type(block)])
        if how == "class"
        else partial(size_based_auto_wrap_policy, min_num_params=size)
    )
    found = option(FSDPStrategy(auto_wrap_policy=policy), setting(subject.module))
    assert found.layout.units == UNITS
    assert (found.layout.parameters_over, found.layout.gather_bytes) == (32, 2)
    assert found.numbers == Numbers(found.numbers.autocast, found.numbers.parameters)
    assert not found.note
    model = StepModel(tuple(ParameterSize(n, p.numel(), 4) for n, p in subject.module.named_parameters()))
    assert len(units_of(model.parameters, found.layout)) == len(UNITS) + 1


def test_fsdp_without_a_policy_says_so() -> None:
    found = option("fsdp", setting(nn.Linear(2, 2)))
    assert not found.layout.units
    assert "auto_wrap_policy" in found.note


def test_groups_are_nodes_where_only_they_are_cut() -> None:
    subject, _ = empty(llama)
    found = {o.name: o.layout for o in alternatives(setting(subject.module), 1000)}
    assert found["fsdp per node"].parameters_over == 8
    assert found["fsdp"].parameters_over == 32
    assert list(found)[0] == "ddp"


@pytest.mark.parametrize(("stage", "over"), [(1, (1, 1, 32)), (2, (1, 32, 32)), (3, (32, 32, 32))])
def test_deepspeed_cuts_more_with_each_stage(stage: int, over: tuple[int, ...]) -> None:
    layout = option(f"deepspeed_stage_{stage}", setting(nn.Linear(2, 2))).layout
    between = layout.earlier_over or layout.gradients_over
    assert (layout.parameters_over, between, layout.optimizer_over) == over


def test_gradients_of_deepspeeds_first_stage_are_whole_only_while_pieces_are_to_come() -> None:
    layout = replace(option("deepspeed_stage_1", setting(nn.Linear(2, 2))).layout, bucket=0)
    held_by = [peak(MODEL.under(layout), PASS, layout, pieces).gradients for pieces in (1, 2)]
    assert held_by == [10 * math.ceil(2000 / 32), 20_000]


def test_deepspeeds_third_stage_keeps_what_is_small_or_soon_used() -> None:
    layout = replace(option("deepspeed_stage_3", setting(nn.Linear(2, 2))).layout, units=LAYERS, fixed=0)
    forward = replace(PASS, moments=tuple(FORWARD))
    small = peak(MODEL.under(layout), forward, layout)
    assert small.gathered == held(MODEL.under(layout), layout).gathered == 20_000
    large = replace(layout, keeps_up_to=0, keeps_for=0)
    assert peak(MODEL.under(large), forward, large).gathered == 4000
    # The last two of them are back before 4,000 elements have passed, and arrive in one more place.
    near = replace(large, keeps_for=4000)
    assert peak(MODEL.under(large), forward, near).gathered == 6000
    sent = [traffic(MODEL.under(one), one).all_gather for one in (large, near)]
    assert sent == [20 * 2000 * 31 // 32, 18 * 2000 * 31 // 32]


def test_what_cannot_be_planned_is_refused() -> None:
    with pytest.raises(RequestError, match="no strategy 'magic'"):
        option("magic", setting(nn.Linear(2, 2)))


# --- choosing


def candidate(name: str, total: int, seconds: float, pieces: int = 1) -> Candidate:
    one = Option(name, (), Layout(), Numbers())
    return Candidate(one, 1, pieces, Memory(total), Traffic(), Bound(seconds, 0.0, 0.0), 100)


def test_the_fastest_that_fits_is_chosen() -> None:
    slow, fast, large = candidate("slow", 10, 2.0), candidate("fast", 90, 1.0), candidate("large", 110, 0.5)
    assert best([slow, fast, large]) is fast
    assert best([large]) is None


def test_what_is_hardly_faster_is_not_worth_more_trouble() -> None:
    simple, cut_up = candidate("simple", 10, 1.02), candidate("cut up", 10, 1.0)
    assert best([simple, cut_up]) is simple


def test_micro_batches_are_powers_of_two_and_the_batch() -> None:
    assert micro_batches(12) == [1, 2, 4, 8, 12]
    assert micro_batches(8) == [1, 2, 4, 8]
    assert micro_batches(1) == [1]
    assert micro_batches(12, cut=False) == [12]


def test_nodes_are_doubled_until_it_fits() -> None:
    assert ranks_needed(lambda nodes: nodes >= 6, 2) == 8
    assert ranks_needed(lambda nodes: False, 2, most=64) is None
