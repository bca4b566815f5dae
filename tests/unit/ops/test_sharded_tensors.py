"""Gradients that are whole are clipped as torch clips them; parts of them are looked at on several ranks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nimble_lightning.ops.sharded_tensors import clip_norm, clip_value, total_norm


def parameters() -> list[nn.Parameter]:
    """With gradients whose norm is 5."""
    made = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1, 1))]
    made[0].grad, made[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([[-4.0]])
    return made


def gradients(of: list[nn.Parameter]) -> list[torch.Tensor]:
    return [p.grad for p in of if p.grad is not None]


@pytest.mark.parametrize("most", [0.5, 4.9, 5.0, 5.1, 100.0])
def test_only_what_is_larger_is_scaled_and_the_norm_before_is_told(most: float) -> None:
    ours, theirs = parameters(), parameters()
    assert float(clip_norm(gradients(ours), most)) == float(total_norm(gradients(theirs))) == 5.0
    nn.utils.clip_grad_norm_(theirs, most)
    for one, other in zip(gradients(ours), gradients(theirs), strict=True):
        torch.testing.assert_close(one, other)
    if most > 5:
        assert gradients(ours)[0].tolist() == [3.0, 0.0], "to the last bit"


@pytest.mark.parametrize("most", [0.5, 3.0, 3.5, 100.0])
def test_elements_are_cut_on_either_side(most: float) -> None:
    ours, theirs = parameters(), parameters()
    clip_value(gradients(ours), most)
    nn.utils.clip_grad_value_(theirs, most)
    for one, other in zip(gradients(ours), gradients(theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
