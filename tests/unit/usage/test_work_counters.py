from __future__ import annotations

import pytest
import torch
from torch import nn
from usage_cases import piece

from nimble_lightning.ops.batches import size_of
from nimble_lightning.usage.work_counters import FlopCounter, WorkCounters, countable


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), nn.BatchNorm1d(16), nn.Linear(16, 4))


def trained(counter: FlopCounter | None) -> list[torch.Tensor]:
    model = net()
    torch.manual_seed(1)
    if counter is not None:
        counter.begin()
    model(torch.randn(32, 8)).square().mean().backward()
    if counter is not None:
        counter.end()
    return (
        [p.grad for p in model.parameters() if p.grad is not None] + list(model.buffers()) + [torch.rand(3)]
    )


def test_operations_are_counted_forward_and_backward() -> None:
    counter = FlopCounter()
    trained(counter)
    first, second = 2 * 32 * 8 * 16, 2 * 32 * 16 * 4
    # The first layer needs no gradient of its input.
    assert counter.total == 2 * first + 3 * second


def test_counting_changes_no_bit() -> None:
    for plain, counted in zip(trained(None), trained(FlopCounter()), strict=True):
        assert torch.equal(plain, counted)


def test_nothing_is_counted_after_the_end() -> None:
    counter = FlopCounter()
    counter.begin()
    counter.begin()
    counter.end()
    counter.end()
    trained(None)
    assert counter.total == 0


def test_a_compiled_module_cannot_be_counted() -> None:
    model = net()
    assert countable(model)
    model[0].compile(backend="eager")
    assert not countable(model)


def test_operations_grow_with_the_samples() -> None:
    work = WorkCounters(measure=True)
    work.begin(net(), step=0, left=10)
    assert work.counter is not None
    work.counter.total = 6400
    batch = torch.zeros(32, 8)
    work.counted(batch)
    for _ in range(10):
        work.add(batch)
    work.tell(told := piece())
    assert told.flops == 64_000
    assert (told.samples, told.done, told.total) == (320, 10, 10)


def test_without_being_asked_nothing_is_counted() -> None:
    work = WorkCounters(measure=False)
    work.begin(net(), step=0, left=None)
    assert work.counter is None
    work.tell(told := piece())
    assert (told.flops, told.flops_note, told.total) == (None, "not asked for", None)


def test_a_batch_that_was_cut_short_tells_nothing() -> None:
    work = WorkCounters(measure=True)
    work.begin(net(), step=0, left=None)
    work.counted(None)
    work.tell(told := piece())
    assert told.flops is None


def test_operations_of_a_compiled_language_model_are_estimated() -> None:
    model = net()
    model.compile(backend="eager")
    work = WorkCounters(measure=True)
    work.begin(model, step=0, left=None)
    work.add({"input_ids": torch.zeros(2, 5, dtype=torch.long)})
    work.tell(told := piece())
    assert told.flops == 6 * sum(p.numel() for p in model.parameters()) * 10
    assert "parameters x tokens" in told.flops_note


def texts(real: int, length: int = 8) -> dict[str, torch.Tensor]:
    mask = torch.zeros(4, length, dtype=torch.long)
    mask[:, :real] = 1
    return {"input_ids": torch.zeros(4, length, dtype=torch.long), "attention_mask": mask}


def test_tokens_are_counted_by_shape_and_padding_is_taken_off() -> None:
    work = WorkCounters(measure=False)
    work.add(texts(real=4))
    work.add(texts(real=4))
    work.tell(told := piece())
    assert (told.tokens, told.tokens_kind) == (32.0, "estimated")
    assert "padding" in told.tokens_note


@pytest.mark.parametrize("batch", [texts(real=8), {"input_ids": torch.zeros(4, 8)}])
def test_tokens_without_padding_are_measured(batch: dict[str, torch.Tensor]) -> None:
    work = WorkCounters(measure=False)
    for _ in range(3):
        work.add(batch)
    work.tell(told := piece())
    assert (told.tokens, told.tokens_kind) == (96.0, "measured")


def packed(*counts: int) -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.zeros(len(counts), 8, dtype=torch.long),
        "num_tokens": torch.tensor(counts),
    }


def test_tokens_of_packed_rows_are_counted_batch_by_batch_without_their_padding() -> None:
    work = WorkCounters(measure=False)
    for batch in (packed(8, 8), packed(8, 3), packed(1, 2)):
        work.add(batch)
    work.tell(told := piece())
    assert (told.tokens, told.tokens_kind) == (30.0, "measured")
    assert "padding is not counted" in told.tokens_note


@pytest.mark.parametrize("batch", [packed(4, 4, 4, 4), texts(real=4)])
def test_padding_is_no_work(batch: dict[str, torch.Tensor]) -> None:
    work = WorkCounters(measure=True)
    work.begin(net(), step=0, left=10)
    assert work.counter is not None
    work.counter.total = 3200
    work.counted(batch)
    for _ in range(10):
        work.add(batch)
    work.tell(told := piece())
    assert told.flops == 3200 * 10 / 2
    assert "padding left out" in told.flops_note


def test_batches_without_tokens_have_none() -> None:
    work = WorkCounters(measure=False)
    work.add((torch.zeros(4, 8), torch.zeros(4)))
    work.tell(told := piece())
    assert (told.tokens, told.samples) == (None, 4)


@pytest.mark.parametrize(
    "batch",
    [
        torch.zeros(3, 2),
        torch.tensor(1.0),
        (torch.zeros(3, 2), torch.zeros(3)),
        [torch.zeros(3)],
        (torch.tensor(1.0), torch.zeros(3)),
        {"x": torch.zeros(3)},
        {"name": "a", "x": torch.zeros(3)},
        ({"x": torch.zeros(3)}, 1),
        ["a", "b", "c"],
        (),
        {},
        None,
    ],
)
def test_the_short_way_to_the_number_of_samples_leads_to_the_same_number(batch: object) -> None:
    work = WorkCounters(measure=False)
    work.add(batch)
    work.tell(told := piece())
    assert told.samples == size_of(batch)


def test_a_second_fit_adds_its_batches_to_those_of_the_first() -> None:
    work, told = WorkCounters(measure=False), piece()
    for left in (3, 5):
        work.begin(net(), 0, left)
        for _ in range(left):
            work.add(torch.zeros(2, 8))
    work.tell(told)
    assert (told.done, told.total, told.samples) == (8, 8, 16)
