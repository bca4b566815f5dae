"""Cross-entropy in pieces is cross-entropy, with its gradients, in a fraction of the memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nimble_lightning.llm import cross_entropy
from nimble_lightning.llm.cross_entropy import summed_cross_entropy, token_log_probs


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "_AT_ONCE", 7 * 50)


def case(*, bias: bool = True, frozen: bool = False) -> tuple[Tensor, nn.Linear, Tensor]:
    torch.manual_seed(0)
    head = nn.Linear(16, 50, bias=bias).requires_grad_(not frozen)
    return torch.randn(33, 16, requires_grad=True), head, torch.randint(0, 50, (33,))


def gradients(loss: Tensor, hidden: Tensor, head: nn.Linear) -> list[Tensor]:
    inputs = [hidden, *(p for p in head.parameters() if p.requires_grad)]
    return list(torch.autograd.grad(loss * 0.37, inputs))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("way", ["summed", "by token", "a head of its own"])
def test_it_is_that_of_torch_with_its_gradients(way: str, bias: bool, frozen: bool) -> None:
    hidden, head, labels = case(bias=bias, frozen=frozen)
    plain = F.cross_entropy(head(hidden), labels, reduction="sum")
    wanted = gradients(plain, hidden, head)
    if way == "by token":
        found = -token_log_probs(hidden, head, labels).sum()
    elif way == "summed":
        found = summed_cross_entropy(hidden, head, labels)
    else:
        found = summed_cross_entropy(hidden, nn.Sequential(head), labels)
    assert torch.allclose(found, plain, rtol=1e-6)
    for one, other in zip(gradients(found, hidden, head), wanted, strict=True):
        assert (one - other).abs().max() < 1e-5


def test_nothing_to_learn_costs_nothing() -> None:
    hidden, head, labels = case()
    loss = summed_cross_entropy(hidden[:0], head, labels[:0])
    assert float(loss.detach()) == 0
    assert torch.equal(gradients(loss, hidden, head)[0], torch.zeros_like(hidden))
    assert token_log_probs(hidden[:0], head, labels[:0]).shape == (0,)


def test_in_half_precision_it_is_as_near_as_torch_is() -> None:
    hidden, head, labels = case()
    exact = F.cross_entropy(head(hidden), labels, reduction="sum")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs = F.cross_entropy(head(hidden), labels, reduction="sum")
        ours = summed_cross_entropy(hidden, head, labels)
    assert (ours - exact).abs() <= 2 * (theirs - exact).abs() + 1e-3 * exact
    assert all(g.dtype == torch.float32 for g in gradients(ours, hidden, head))


class _Peak(TorchDispatchMode):
    """The largest storage that an operation makes."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                self.largest = max(self.largest, tensor.numel())
        return out


def test_the_table_of_all_tokens_by_all_words_never_exists() -> None:
    hidden, head, labels = case()
    with _Peak() as peak:
        summed_cross_entropy(hidden, head, labels).backward()
    assert peak.largest <= max(7 * 50, head.weight.numel())
    assert peak.largest < 33 * 50
