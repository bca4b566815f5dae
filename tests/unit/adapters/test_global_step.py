"""One optimizer step is one global batch, however it is cut, and running out of memory does not change it."""

from __future__ import annotations

import ctypes
import gc
import weakref
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nimble_lightning.adapters.distributed.gradient_exchange import NoExchange
from nimble_lightning.adapters.global_step import Backward, GlobalStep, PieceLoss, Pieces, trainable
from nimble_lightning.errors import TrainerError


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()


def _step(
    model: nn.Module, train: Callable[[Any], Any], size: int | None = None, accumulate: int = 1
) -> GlobalStep:
    return GlobalStep(
        Backward(
            PieceLoss(train), Pieces(size), NoExchange(trainable(model), torch.Tensor.backward), lambda: None
        ),
        model,
        accumulate,
    )


def _run(step: GlobalStep, model: nn.Module, batches: list[Any]) -> list[torch.Tensor]:
    for number, batch in enumerate(batches, 1):
        step.run(batch, number == len(batches), model.zero_grad)
    return [p.grad.clone() for p in model.parameters()]  # type: ignore[union-attr]


def _squares(model: nn.Module) -> Callable[[Any], torch.Tensor]:
    return lambda batch: (model(batch[0]) - batch[1]).square().mean()


def _data(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, generator=generator).double(), torch.randn(n, 1, generator=generator).double()


def _expected(batch: Any) -> list[torch.Tensor]:
    model = _model()
    _squares(model)(batch).backward()
    return [p.grad for p in model.parameters()]  # type: ignore[misc]


def _equal(found: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    return all(torch.allclose(a, b, atol=1e-9, rtol=0) for a, b in zip(found, expected, strict=True))


@settings(deadline=None)
@given(n=st.integers(1, 17), size=st.integers(1, 20))
def test_gradients_do_not_depend_on_the_size_of_the_pieces(n: int, size: int) -> None:
    model = _model()
    assert _equal(_run(_step(model, _squares(model), size), model, [_data(n)]), _expected(_data(n)))


def test_the_loss_of_a_batch_is_that_of_the_uncut_one() -> None:
    model, batch = _model(), _data(7)
    done, _ = _step(model, _squares(model), size=3).run(batch, True, model.zero_grad)
    assert done.items == 7
    assert float(done.loss) == pytest.approx(float(_squares(model)(batch).detach()), rel=1e-9)


@settings(deadline=None)
@given(cuts=st.lists(st.integers(1, 6), min_size=1, max_size=5), size=st.none() | st.integers(1, 4))
def test_accumulated_batches_of_any_sizes_equal_one_batch(cuts: list[int], size: int | None) -> None:
    x, y = _data(sum(cuts))
    model = _model()
    batches = list(zip(x.split(cuts), y.split(cuts), strict=True))
    assert _equal(
        _run(_step(model, _squares(model), size, accumulate=len(cuts)), model, batches), _expected((x, y))
    )


def test_a_window_left_incomplete_by_the_end_of_an_epoch_is_a_mean_over_what_it_holds() -> None:
    weight = nn.Linear(1, 1, bias=False)
    step = _step(weight, lambda batch: weight(batch).mean(), accumulate=4)
    seen = []
    for number in range(1, 6):
        _, complete = step.run(torch.ones(2, 1), number == 5, weight.zero_grad)
        if complete:
            seen.append(float(weight.weight.grad))
    assert seen == [1.0, 1.0]


@pytest.mark.parametrize(
    "returned", [lambda loss, n: (loss, n), lambda loss, n: {"loss": loss, "num_items": torch.tensor(n)}]
)
def test_a_loss_over_tokens_is_weighted_by_tokens(returned: Callable[[Any, int], Any]) -> None:
    weight = nn.Linear(1, 1, bias=False)
    mask = torch.tensor([[1.0] + [0.0] * 8, [1.0] * 9])
    target = torch.stack([torch.ones(9), torch.zeros(9)])

    def train(batch: Any) -> Any:
        mask, target = batch
        tokens = int(mask.sum())
        return returned((weight.weight * target * mask).sum() / tokens, tokens)

    _run(_step(weight, train, size=1), weight, [(mask, target)])
    assert float(weight.weight.grad) == pytest.approx(0.1)


def test_a_piece_without_any_item_adds_nothing() -> None:
    weight = nn.Linear(1, 1, bias=False)

    def train(batch: Any) -> Any:
        count = int((batch != -100).sum())
        return weight.weight.sum() * (batch.float().mean() / count if count else float("nan")), count

    _run(_step(weight, train, size=1), weight, [torch.tensor([[2.0], [-100.0]])])
    assert float(weight.weight.grad) == pytest.approx(2.0)


class _Starved:
    """A `train` that runs out of memory above a number of samples, after it has already left gradients
    behind."""

    def __init__(self, model: nn.Module, most: int, error: Callable[[], BaseException]) -> None:
        self.model, self.most, self.error = model, most, error
        self.sizes: list[int] = []

    def __call__(self, batch: Any) -> torch.Tensor:
        self.sizes.append(len(batch[0]))
        loss = _squares(self.model)(batch)
        if len(batch[0]) > self.most:
            loss.backward()
            raise self.error()
        return loss


@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        lambda: RuntimeError("CUDA error: out of memory"),
        lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        lambda: RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"
        ),
        lambda: RuntimeError("MPS backend out of memory", "second argument"),
        MemoryError,
    ],
)
def test_out_of_memory_redoes_the_same_batch_in_smaller_pieces(error: Callable[[], BaseException]) -> None:
    model = _model()
    train = _Starved(model, 3, error)
    step = _step(model, train)
    assert _equal(_run(step, model, [_data(11)]), _expected(_data(11)))
    assert train.sizes == [11, 6, 3, 3, 3, 2]
    assert step.backward.pieces.size == 3


def test_the_smaller_size_is_kept_for_the_batches_that_follow() -> None:
    model = _model()
    train = _Starved(model, 4, MemoryError)
    step = _step(model, train)
    _run(step, model, [_data(8)])
    train.sizes.clear()
    _run(step, model, [_data(8)])
    assert train.sizes == [4, 4]


@pytest.mark.parametrize("before", [1, 2, 3])
def test_out_of_memory_inside_a_window_keeps_what_the_window_holds(before: int) -> None:
    x, y = _data(4 * before + 8)
    model = _model()
    step = _step(model, _Starved(model, 4, MemoryError), accumulate=before + 1)
    cuts = [4] * before + [8]
    batches = list(zip(x.split(cuts), y.split(cuts), strict=True))
    assert _equal(_run(step, model, batches), _expected((x, y)))


def test_running_statistics_and_random_numbers_are_those_of_the_try_that_worked() -> None:
    def trained(most: int, size: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1)).double()
        torch.manual_seed(7)
        grads = _run(_step(model, _Starved(model, most, MemoryError), size), model, [_data(8)])
        return grads[0], model[1].running_mean  # type: ignore[return-value]

    for starved, reference in zip(trained(4, None), trained(8, 4), strict=True):
        assert torch.equal(starved, reference)


def test_one_sample_that_does_not_fit_fails_with_the_remedy() -> None:
    model = _model()
    with pytest.raises(TrainerError, match="Out of memory with one sample.*\n.*gradient_checkpointing"):
        _run(_step(model, _Starved(model, 0, MemoryError)), model, [_data(4)])


def test_where_others_wait_in_the_middle_of_a_batch_it_is_not_tried_again() -> None:
    model = _model()
    train = _Starved(model, 3, MemoryError)
    step = _step(model, train)
    step.redoable = False
    with pytest.raises(TrainerError, match="Out of memory with 8 samples.*\n.*data.micro_batch_size"):
        _run(step, model, [_data(8)])
    assert train.sizes == [8]


def test_other_errors_are_the_users_own() -> None:
    model = _model()
    with pytest.raises(RuntimeError, match="shapes do not match"):
        _run(_step(model, _Starved(model, 0, lambda: RuntimeError("shapes do not match"))), model, [_data(4)])


def test_fifty_times_out_of_memory_leave_no_batch_behind_and_no_growth() -> None:
    model = _model()
    step = _step(model, _Starved(model, 10_000, lambda: torch.OutOfMemoryError("CUDA out of memory")))
    alive: list[weakref.ref[torch.Tensor]] = []

    def once() -> None:
        step.backward.pieces.size = None
        batch = tuple(t.clone() for t in _data(20_000))
        alive.extend(weakref.ref(t) for t in batch)
        _run(step, model, [batch])

    for _ in range(10):
        once()
    before = _memory_in_use()
    for _ in range(50):
        once()
    after = _memory_in_use()
    assert not [ref for ref in alive if ref() is not None]
    assert after <= 1.01 * before


def _memory_in_use() -> int:
    """Of this process, less what the allocator merely keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_info().rss)
