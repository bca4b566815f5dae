"""On the CPU, but with the choices a GPU would make: what is kept for the backward pass depends on them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only
from typing_extensions import override

log = logging.getLogger(__name__)

# CUDA's autocast does these in full precision; the CPU's leaves them as they come.
_CAST_FIRST = {
    *("layer_norm", "group_norm", "rms_norm", "norm", "normalize", "cosine_similarity", "dist", "cdist"),
    *("exp", "expm1", "log", "log10", "log1p", "log2", "pow", "__pow__", "__rpow__", "reciprocal", "rsqrt"),
    *("softplus", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "kl_div"),
    "binary_cross_entropy_with_logits",
}
_CAST_WITHIN = {"softmax", "log_softmax", "softmin", "cumsum", "cumprod", "prod", "sum"}
_CHOOSE = {torch.Tensor.__getitem__, torch.masked_select, torch.Tensor.masked_select}
_HALVES = (torch.bfloat16, torch.float16)


class GpuEmulation(TorchFunctionMode):
    """Dropout keeps a byte an element, attention keeps no scores, masks pick all, autocast is CUDA's."""

    @override
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            # The CPU has no kernel with dropout and would write out all scores instead.
            return func(*args[:4], **{**given, **_positional(args), "dropout_p": 0.0})
        if func is F.dropout:
            return _dropout(*args, **given)
        if func in _CHOOSE:
            return _all_chosen(func, *args, **given)
        if torch.is_autocast_enabled("cpu"):
            args, given = _as_cuda_would(getattr(func, "__name__", ""), args, given)
        return func(*args, **given)


@contextmanager
def not_traced(batch: Any) -> Iterator[None]:
    """Let transformers leave out attention masks as it does in a real step, unless the batch has padding.

    It keeps them where it sees a tensor without values, since it cannot look.
    """
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    padded = isinstance(mask, Tensor) and not bool(mask.all())
    module: Any = sys.modules.get("transformers.utils.import_utils")
    known = getattr(module, "is_fake_tensor", None)
    if padded or known is None:
        yield
        return
    module.is_fake_tensor = lambda tensor: False
    try:
        yield
    finally:
        module.is_fake_tensor = known


def _positional(args: tuple[Any, ...]) -> dict[str, Any]:
    """What of an attention's arguments comes after the mask."""
    return dict(zip(("dropout_p", "is_causal"), args[4:], strict=False))


def _all_chosen(func: Callable[..., Any], source: Tensor, chosen: Any, **given: Any) -> Any:
    """What a mask picks, though nobody knows what the mask holds: everything it could, which is the most."""
    masks = isinstance(chosen, Tensor) and chosen.dtype is torch.bool and chosen.dim()
    if not masks or not is_fake(chosen):
        return func(source, chosen, **given)
    if func is not torch.Tensor.__getitem__:
        source, chosen = torch.broadcast_tensors(source, chosen)
    _say_all_chosen()
    return source.flatten(0, chosen.dim() - 1).clone()


@cache
def _say_all_chosen() -> None:
    log.warning(
        "what a mask picks depends on values, which a plan has none of: it is taken to pick everything"
    )


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or not p:
        return input
    dropped: Tensor = torch.native_dropout(input, p, True)[0]
    return dropped


def _as_cuda_would(name: str, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if name in _CAST_FIRST:
        args, given = tree_map_only(Tensor, _in_full, (args, given))
    elif name in _CAST_WITHIN and args and getattr(args[0], "dtype", None) in _HALVES:
        given.setdefault("dtype", torch.float32)
    return args, given


def _in_full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in _HALVES else tensor
