"""What preferences cost, from log-probabilities of whole answers or rewards: one number a pair, or an answer.

The formulas are those of the papers as TRL 1.16 computes them, with which tests compare.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def dpo(chosen: Tensor, rejected: Tensor, beta: float = 0.1) -> Tensor:
    """Direct preference optimization (arXiv:2305.18290).

    Args:
        chosen: The log-probability of each better answer, less that of the reference.
        rejected: The same of each worse one.
        beta: How much it costs to leave the reference.
    """
    return -logsigmoid(beta * (chosen - rejected))


def ipo(chosen: Tensor, rejected: Tensor, beta: float = 0.1) -> Tensor:
    """Identity preference optimization (arXiv:2310.12036); both are means over the tokens of an answer."""
    return (chosen - rejected - 1 / (2 * beta)).square()


def orpo(chosen: Tensor, rejected: Tensor, beta: float = 0.1) -> Tensor:
    """The odds ratio of ORPO (arXiv:2403.07691), which is added to the cross-entropy of the better answer.

    Args:
        chosen: The mean log-probability of a token of each better answer. There is no reference.
        rejected: The same of each worse one.
        beta: How much it weighs.
    """
    odds = (chosen - rejected) - (_log_of_rest(chosen) - _log_of_rest(rejected))
    return -beta * logsigmoid(odds)


def kto(
    ahead: Tensor,
    desirable: Tensor,
    divergence: Tensor,
    beta: float = 0.1,
    weights: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """Kahneman-Tversky optimization (arXiv:2402.01306): of each answer, which is desirable or not.

    Args:
        ahead: The log-probability of each answer, less that of the reference.
        desirable: Whether it is one to give.
        divergence: How far the model is from the reference, as a whole.
        beta: How much it costs to leave the reference.
        weights: Of the desirable ones, and of the others.
    """
    side = torch.where(desirable, 1.0, -1.0)
    weight = torch.where(desirable, *weights)
    return weight * (1 - torch.sigmoid(beta * side * (ahead - divergence)))


def reward(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0, center: float = 0.0) -> Tensor:
    """The model of Bradley and Terry: how likely the better answer is taken for it, by their rewards.

    Args:
        chosen: Of each better answer.
        rejected: Of each worse one.
        margin: How much better it is to be (arXiv:2307.09288).
        center: How much it costs that rewards are not around zero (arXiv:2312.09244).
    """
    return -logsigmoid(chosen - rejected - margin) + center * (chosen + rejected).square()


def _log_of_rest(log_prob: Tensor) -> Tensor:
    """log(1 - p), exact for p near 0 and near 1."""
    near_one = log_prob > -0.6931472
    small = torch.where(near_one, log_prob, -1.0)
    large = torch.where(near_one, -1.0, log_prob)
    return torch.where(near_one, torch.log(-torch.expm1(small)), torch.log1p(-torch.exp(large)))
