from __future__ import annotations

import resource
from functools import partial
from itertools import takewhile
from typing import Any

import pytest
import torch
import torch.distributed as dist
from planning_cases import UNITS, empty, llama, loss_of, words
from torch import Tensor, nn
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.distributed._tools.mem_tracker import MemTracker
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn import functional as F
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.flop_counter import FlopCounterMode

from nimble_lightning.planning.gpu_emulation import not_traced
from nimble_lightning.planning.layout import Layout
from nimble_lightning.planning.peak_memory import peak
from nimble_lightning.planning.trace import Numbers, measure, trace

pytestmark = pytest.mark.filterwarnings("default")
RANKS = 8


def steps(model: nn.Module, tracker: Any, optimizer: torch.optim.Optimizer, batch: Tensor) -> int:
    """The most bytes in use in the second of two real steps, by PyTorch's own tracker."""
    with tracker:
        for step in range(2):
            loss_of(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
            if not step:
                tracker.reset_mod_stats()
    return int(tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"])


def test_the_peak_of_one_device_is_that_of_a_real_step() -> None:
    subject, mode = empty(llama, optimizer=partial(torch.optim.AdamW, fused=True))
    batch, real = words(2), llama()
    with not_traced(batch):
        ours = peak(measure(subject, mode), trace(subject, batch, mode, Numbers()), Layout()).total
    optimizer = torch.optim.AdamW(real.parameters(), fused=True)
    tracker = MemTracker()
    tracker.track_external(real, optimizer, batch)
    assert ours == pytest.approx(steps(real, tracker, optimizer, batch), rel=0.01)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["full", "rounded"])
def test_the_peak_of_a_rank_is_that_of_pytorchs_tracker(dtype: torch.dtype | None) -> None:
    subject, mode = empty(llama, optimizer=partial(torch.optim.AdamW, fused=True))
    batch, size = words(2), None if dtype is None else dtype.itemsize
    with not_traced(batch):
        timeline = trace(subject, batch, mode, Numbers(parameters=dtype))
    layout = Layout(RANKS, RANKS, RANKS, RANKS, UNITS, size, size)
    ours = peak(measure(subject, mode), timeline, layout).total
    dist.init_process_group("fake", rank=0, world_size=RANKS, store=FakeStore())
    try:
        real, mesh = llama(), init_device_mesh("cpu", (RANKS,))
        policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=dtype)
        for layer in real.model.layers:
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        fully_shard(real, mesh=mesh, mp_policy=policy)
        optimizer = torch.optim.AdamW(real.parameters(), fused=True)
        tracker = FSDPMemTracker(real, optimizer)
        tracker.track_inputs((batch,))
        theirs = steps(real, tracker, optimizer, batch)
    finally:
        dist.destroy_process_group()
    assert ours == pytest.approx(theirs, rel=0.03)


def test_operations_are_those_pytorch_counts() -> None:
    subject, mode = empty(llama)
    batch, real = words(2), llama()
    with not_traced(batch):
        ours = trace(subject, batch, mode, Numbers()).flops
    with FlopCounterMode(display=False) as counter:
        loss_of(real, batch).backward()
    assert ours == counter.get_total_flops()
    # Looking words up is no multiplication, and attention is on top of what parameters take.
    multiplied = sum(p.numel() for p in real.parameters()) - real.model.embed_tokens.weight.numel()
    assert 0.99 * 6 * multiplied * batch.numel() <= ours <= 1.4 * 6 * multiplied * batch.numel()


def test_what_a_mask_picks_is_taken_to_be_all_there_is() -> None:
    def masked(model: nn.Module, batch: Tensor) -> Tensor:
        keep = batch >= 0
        logits = model(input_ids=batch).logits[keep]
        return F.cross_entropy(logits, torch.masked_select(batch, keep))

    def flat(model: nn.Module, batch: Tensor) -> Tensor:
        return F.cross_entropy(model(input_ids=batch).logits.flatten(0, 1).clone(), batch.flatten().clone())

    peaks = []
    for loss in (masked, flat):
        subject, mode = empty(llama, loss=loss)
        with not_traced(None):
            peaks.append(
                peak(measure(subject, mode), trace(subject, words(2), mode, Numbers()), Layout()).total
            )
    assert peaks[0] == pytest.approx(peaks[1], rel=0.01)


def test_memory_grows_by_the_same_with_each_sample() -> None:
    subject, mode = empty(llama)
    with not_traced(None):
        one, two, five = (trace(subject, words(n), mode, Numbers()) for n in (1, 2, 5))
    guessed = one.of(5, two)
    assert guessed.flops == five.flops
    assert guessed.inputs == five.inputs
    highs = [(a.high, b.high) for a, b in zip(guessed.moments, five.moments, strict=True)]
    # Small tensors are rounded up to what an allocator hands out.
    assert all(a == pytest.approx(b, rel=0.01, abs=4096) for a, b in highs)


def test_checkpointed_blocks_hold_less_and_compute_more() -> None:
    plain, mode = empty(llama)
    recomputing, other = empty(llama)
    recomputing.module.gradient_checkpointing_enable({"use_reentrant": False})
    with not_traced(None):
        all_kept = trace(plain, words(4), mode, Numbers())
        few_kept = trace(recomputing, words(4), other, Numbers())
    model = measure(plain, mode)
    assert peak(model, few_kept, Layout()).activations < 0.6 * peak(model, all_kept, Layout()).activations
    assert few_kept.flops > 1.2 * all_kept.flops


def test_a_model_of_many_gigabytes_takes_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    width, depth = 20_000, 20
    subject, mode = empty(
        lambda: nn.Sequential(*(nn.Linear(width, width) for _ in range(depth))), loss=lambda m, x: m(x).sum()
    )
    timeline = trace(subject, torch.zeros(4, width), mode, Numbers())
    model = measure(subject, mode)
    assert model.numel == depth * width * (width + 1)
    assert peak(model, timeline, Layout()).total > 16 * model.numel
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_shared_parameters_stay_one() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(10, 4)
            self.out = nn.Linear(4, 10, bias=False)
            self.out.weight = self.words.weight

    subject, mode = empty(Tied)
    assert measure(subject, mode).numel == 40


def high(loss: Any, batch: Tensor, numbers: Numbers | None = None) -> int:
    """The most bytes of activations in a forward pass through one layer."""
    subject, mode = empty(lambda: nn.Linear(256, 256, bias=False), loss=loss)
    timeline = trace(subject, batch, mode, numbers or Numbers())
    return max(m.high for m in timeline.moments if m.what == "leave")


def test_dropout_keeps_a_byte_an_element_as_on_a_gpu() -> None:
    subject, mode = empty(
        lambda: nn.Sequential(nn.Linear(256, 256, bias=False), nn.Dropout(0.5)), loss=lambda m, x: m(x).sum()
    )
    batch = torch.zeros(64, 256)
    timeline = trace(subject, batch, mode, Numbers())
    # The values before and after, and a byte for each.
    assert max(m.high for m in takewhile(lambda m: m.what != "back", timeline.moments)) == 9 * batch.numel()


def test_attention_with_dropout_keeps_no_scores() -> None:
    def attention(m: nn.Module, x: Tensor, p: float) -> Tensor:
        heads = m(x).unflatten(-1, (8, 32)).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads, dropout_p=p).sum()

    batch = torch.zeros(2, 512, 256)
    assert high(partial(attention, p=0.1), batch) == high(partial(attention, p=0.0), batch)


def test_autocast_keeps_norms_in_full_precision() -> None:
    seen: list[torch.dtype] = []

    def norm(m: nn.Module, x: Tensor) -> Tensor:
        product = m(x)
        seen.extend((product.dtype, F.layer_norm(product, (256,)).dtype))
        return product.float().sum()

    high(norm, torch.zeros(4, 256), Numbers(autocast=torch.bfloat16))
    assert seen == [torch.bfloat16, torch.float32]


def test_values_that_nobody_knows_stop_nothing() -> None:
    def asks(m: nn.Module, x: Tensor) -> Tensor:
        loss = m(x).sum()
        return loss if float(loss) and bool((x == 0).all()) else loss * 0

    assert high(asks, torch.zeros(4, 256)) > 0


def test_the_optimizer_is_measured_not_assumed() -> None:
    sgd, mode = empty(lambda: nn.Linear(100, 10), optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9))
    assert [p.optimizer for p in measure(sgd, mode).parameters] == [4000, 40]
    adam, mode = empty(lambda: nn.Linear(100, 10))
    measured = measure(adam, mode)
    assert [p.optimizer for p in measured.parameters] == [8000, 80]
    # By default torch updates all parameters at once on a GPU, which takes another copy of them for a moment.
    assert measured.step_extra >= 4040
    fused, mode = empty(lambda: nn.Linear(100, 10), optimizer=partial(torch.optim.AdamW, fused=True))
    assert measure(fused, mode).step_extra < 4040


def test_tracing_leaves_the_module_as_it_was() -> None:
    subject, mode = empty(llama)
    before = [(name, id(p), p.dtype) for name, p in subject.module.named_parameters()]
    trace(subject, words(1), mode, Numbers(torch.bfloat16, torch.bfloat16))
    assert [(name, id(p), p.dtype) for name, p in subject.module.named_parameters()] == before
    assert not any(p.grad is not None for p in subject.module.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in subject.module.modules())


def test_a_model_without_weights_is_converted_and_layers_that_share_weights_still_do() -> None:
    def make() -> nn.Module:
        model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 8))
        model[2].weight = model[0].weight
        return model.to(torch.bfloat16)

    subject, _ = empty(make)
    assert {p.dtype for p in subject.module.parameters()} == {torch.bfloat16}
    assert subject.module[1].running_mean.dtype == torch.bfloat16
    assert subject.module[0].weight is subject.module[2].weight
    assert len(list(subject.module.parameters())) == 5
    assert nn.Linear(2, 2).double().weight.dtype == torch.float64
