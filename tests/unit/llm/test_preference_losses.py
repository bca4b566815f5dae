"""Each loss is what its paper says, in plain numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nimble_lightning.llm.preference_losses import dpo, ipo, kto, orpo, reward

ONE, OTHER = [-0.2, -3.0, -0.9], [-1.1, -0.3, -0.9]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def of(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_dpo() -> None:
    wanted = [-math.log(sigmoid(0.3 * (a - b))) for a, b in zip(ONE, OTHER, strict=True)]
    assert dpo(of(ONE), of(OTHER), 0.3).tolist() == pytest.approx(wanted)


def test_ipo() -> None:
    wanted = [(a - b - 1 / 0.6) ** 2 for a, b in zip(ONE, OTHER, strict=True)]
    assert ipo(of(ONE), of(OTHER), 0.3).tolist() == pytest.approx(wanted)


def test_orpo() -> None:
    odds = [[math.exp(x) / (1 - math.exp(x)) for x in values] for values in (ONE, OTHER)]
    wanted = [-0.3 * math.log(sigmoid(math.log(a / b))) for a, b in zip(*odds, strict=True)]
    assert orpo(of(ONE), of(OTHER), 0.3).tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("value", [-1e-7, -60.0])
def test_orpo_of_what_is_all_but_sure_is_a_number_with_a_slope(value: float) -> None:
    chosen = torch.tensor([value], requires_grad=True)
    orpo(chosen, torch.tensor([-1.0])).sum().backward()
    assert chosen.grad is not None
    assert torch.isfinite(chosen.grad).all()


def test_kto_weighs_answers_by_their_kind_around_the_divergence() -> None:
    kinds, kl = [True, False, True], 0.4
    wanted = [
        2.0 * (1 - sigmoid(0.3 * (-0.2 - kl))),
        0.5 * (1 - sigmoid(0.3 * (kl + 3.0))),
        2.0 * (1 - sigmoid(0.3 * (-0.9 - kl))),
    ]
    assert kto(of(ONE), torch.tensor(kinds), of([kl]), 0.3, (2.0, 0.5)).tolist() == pytest.approx(wanted)


def test_reward() -> None:
    pairs = zip(ONE, OTHER, [0.0, 0.5, 1.0], strict=True)
    wanted = [-math.log(sigmoid(a - b - m)) + 0.01 * (a + b) ** 2 for a, b, m in pairs]
    assert reward(of(ONE), of(OTHER), of([0.0, 0.5, 1.0]), 0.01).tolist() == pytest.approx(wanted)
