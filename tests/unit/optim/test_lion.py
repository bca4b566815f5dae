"""Lion does what its paper says."""

from __future__ import annotations

import pytest
import torch

from nimble_lightning.errors import RequestError
from nimble_lightning.optim import Lion


def test_steps_equal_the_published_formula() -> None:
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(5, 3)), torch.nn.Parameter(torch.randn(4))]
    expected = [weight.detach().clone() for weight in weights]
    momenta = [torch.zeros_like(weight) for weight in weights]
    optimizer = Lion(weights, lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(20):
        for index, weight in enumerate(weights):
            grad = torch.randn_like(weight)
            weight.grad = grad
            update = (0.9 * momenta[index] + 0.1 * grad).sign()
            expected[index] = expected[index] - 0.01 * (update + 0.1 * expected[index])
            momenta[index] = 0.99 * momenta[index] + 0.01 * grad
        optimizer.step()
    for weight, reference in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.detach(), reference)


def test_a_weight_without_a_gradient_stays() -> None:
    used, unused = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = Lion([used, unused], lr=0.1, weight_decay=0.5)
    used.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(unused.detach(), torch.ones(2))
    assert unused not in optimizer.state


def test_a_closure_is_evaluated_with_gradients_and_its_loss_returned() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = Lion([weight], lr=0.1)

    def closure() -> torch.Tensor:
        loss = weight.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 2
    torch.testing.assert_close(weight.detach(), torch.full((2,), 0.9))


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"weight_decay": -0.1}, {"betas": (0.9, 1.0)}])
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(RequestError, match="Lion"):
        Lion([torch.nn.Parameter(torch.ones(2))], **wrong)  # type: ignore[arg-type]
