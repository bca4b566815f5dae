"""Cross-entropy of a large vocabulary without the table of all tokens by all words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# Logits at once: 128 MiB in single precision.
_AT_ONCE = 1 << 25


def summed_cross_entropy(hidden: Tensor, head: nn.Module, labels: Tensor) -> Tensor:
    """The sum of the cross-entropies of tokens.

    Args:
        hidden: What the decoder says of each token: [tokens, width].
        head: From there to logits.
        labels: The right words: [tokens].
    """
    if type(head) is not nn.Linear or type(head.weight) is not nn.Parameter or head.weight.dim() != 2:
        return -token_log_probs(hidden, head, labels).sum()
    weight: Tensor = head.weight
    bias: Tensor | None = head.bias
    if torch.is_autocast_enabled(hidden.device.type):
        # Once, and not for each piece.
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight, bias = hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    with torch.autocast(hidden.device.type, enabled=False):
        summed: Tensor = _SummedCrossEntropy.apply(hidden, weight, bias, labels)  # type: ignore[no-untyped-call]
        return summed


def token_log_probs(hidden: Tensor, head: nn.Module, labels: Tensor) -> Tensor:
    """The log-probability of each right word; logits are computed again on the way back."""
    pieces = _pieces(labels.numel(), _vocabulary(head))
    found = [
        checkpoint(_log_probs, hidden[piece], head, labels[piece], use_reentrant=False) for piece in pieces
    ]
    return torch.cat(found) if found else hidden.sum() * labels.float()


class _SummedCrossEntropy(torch.autograd.Function):
    """Takes the gradients on the way forth, piece by piece, while the logits are there."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        needs_hidden, needs_weight, needs_bias, _ = ctx.needs_input_grad
        of_hidden = torch.empty_like(hidden) if needs_hidden else None
        of_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None
        of_bias = None if bias is None or not needs_bias else torch.zeros_like(bias, dtype=torch.float32)
        for piece in _pieces(labels.numel(), weight.shape[0]):
            logits = nn.functional.linear(hidden[piece], weight, bias).float()
            right = labels[piece, None]
            logsumexp = logits.logsumexp(-1, keepdim=True)
            total += (logsumexp - logits.gather(1, right)).sum()
            if not any(ctx.needs_input_grad):
                continue
            slope = logits.sub_(logsumexp).exp_()
            slope.scatter_add_(1, right, torch.full_like(right, -1, dtype=slope.dtype))
            if of_bias is not None:
                of_bias += slope.sum(0)
            slope = slope.to(weight.dtype)
            if of_hidden is not None:
                torch.mm(slope, weight, out=of_hidden[piece])
            if of_weight is not None:
                if slope.dtype == torch.float32:
                    of_weight.addmm_(slope.t(), hidden[piece])
                else:
                    of_weight += slope.t() @ hidden[piece]
        ctx.save_for_backward(of_hidden, of_weight, of_bias)
        ctx.dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        of_hidden, of_weight, of_bias = ctx.saved_tensors
        return (
            None if of_hidden is None else of_hidden * gradient.to(of_hidden.dtype),
            None if of_weight is None else (of_weight * gradient).to(ctx.dtype),
            None if of_bias is None else (of_bias * gradient).to(ctx.dtype),
            None,
        )


def _log_probs(hidden: Tensor, head: nn.Module, labels: Tensor) -> Tensor:
    logits = head(hidden).float()
    found: Tensor = logits.gather(1, labels[:, None]).squeeze(1) - logits.logsumexp(-1)
    return found


def _pieces(tokens: int, vocabulary: int) -> list[slice]:
    size = max(1, _AT_ONCE // vocabulary)
    return [slice(start, start + size) for start in range(0, tokens, size)]


def _vocabulary(head: nn.Module) -> int:
    return int(getattr(head, "out_features", 1 << 17))
