"""However ranks exchange gradients, those of a step are of the mean over all its samples."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from two_threads import TwoThreads

from nimble_lightning.adapters.distributed import gradient_sums
from nimble_lightning.adapters.distributed.ddp_reducer import Reduced
from nimble_lightning.adapters.distributed.deepspeed import Engine
from nimble_lightning.adapters.distributed.gradient_exchange import AddedUp, Averaged, KeptAside
from nimble_lightning.adapters.global_step import Backward, GlobalStep, PieceLoss, Pieces, trainable

# The batches of a step, by rank; DeepSpeed, which does not accumulate, gets the first of them.
SIZES = ([5, 2], [3, 4])


class Collectives(TwoThreads):
    """Of gradients."""

    def sums(self, values: Any, device: torch.device) -> list[float]:
        return [sum(map(float, column)) for column in zip(*self.everyones(values), strict=True)]

    def most(self, value: int, device: torch.device) -> int:
        return int(max(self.everyones(value)))

    def add_up(self, parameters: list[nn.Parameter], bucket_mib: float = 25.0) -> None:
        self.reduce(parameters, 1.0)

    def reduce(self, parameters: list[nn.Parameter], share: float) -> None:
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.grad = share * sum(self.everyones(parameter.grad))

    def averaged_backward(self, parameters: list[nn.Parameter], loss: Tensor) -> None:
        """As that of a model that is cut up: each pass brings the mean over ranks."""
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            mean = sum(self.everyones(gradient)) / 2
            parameter.grad = mean if parameter.grad is None else parameter.grad + mean


def exchange(kind: type, ranks: Collectives, parameters: list[nn.Parameter]) -> Any:
    if kind is AddedUp:
        return AddedUp(parameters, torch.Tensor.backward, 2)
    averaging = partial(ranks.averaged_backward, parameters)
    if kind is Reduced:

        def reducing(loss: Tensor) -> None:
            # The reducer sends what has come together since the last step.
            loss.backward()  # type: ignore[no-untyped-call]
            ranks.reduce(parameters, 0.5)

        reducer: Any = SimpleNamespace(rehearse=lambda loss: None, backward=reducing)
        return Reduced(parameters, torch.Tensor.backward, 2, reducer=reducer)
    if kind is Engine:
        optimizer = SimpleNamespace(clear_backward_seen_flag=lambda: None)
        engine = SimpleNamespace(set_gradient_accumulation_boundary=lambda last: None, optimizer=optimizer)
        return Engine(parameters, averaging, 2, strategy=SimpleNamespace(deepspeed_engine=engine))
    return kind(parameters, averaging, 2)


@pytest.mark.parametrize("piece", [None, 2])
@pytest.mark.parametrize("kind", [AddedUp, Reduced, Averaged, KeptAside, Engine])
def test_a_step_has_the_gradients_of_the_mean_over_all_samples_of_all_ranks(
    kind: type, piece: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = Collectives()
    for name in ("sums", "most", "add_up"):
        monkeypatch.setattr(gradient_sums, name, getattr(ranks, name))
    chance = torch.Generator().manual_seed(0)
    batches = [
        [
            torch.randn(size, 4, generator=chance, dtype=torch.float64)
            for size in sizes[: 1 if kind is Engine else 2]
        ]
        for sizes in SIZES
    ]
    weights = torch.randn(1, 3, generator=chance, dtype=torch.float64)

    def loss_of(model: nn.Module, batch: Tensor) -> Tensor:
        return (model(batch[:, :3]) - batch[:, 3:]).square().mean()

    def made() -> nn.Linear:
        model = nn.Linear(3, 1, bias=False).double()
        model.weight.data.copy_(weights)
        return model

    def train(rank: int) -> Tensor:
        model, own = made(), batches[rank]
        loss = PieceLoss(partial(loss_of, model))
        meeting = exchange(kind, ranks, trainable(model))
        step = GlobalStep(Backward(loss, Pieces(piece), meeting, lambda: None), model, len(own))
        done = [step.run(batch, batch is own[-1], model.zero_grad)[1] for batch in own]
        assert done == [False] * (len(own) - 1) + [True]
        assert model.weight.grad is not None
        return model.weight.grad

    whole = made()
    loss_of(whole, torch.cat([batch for own in batches for batch in own])).backward()  # type: ignore[no-untyped-call]
    assert whole.weight.grad is not None
    for gradient in ranks.run(train):
        torch.testing.assert_close(gradient, whole.weight.grad, rtol=1e-12, atol=1e-12)
