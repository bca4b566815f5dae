"""What a process has done: batches, samples, tokens, operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from typing_extensions import override

from nimble_lightning.ops.batches import MASK, shaped_tokens, size_of, told_tokens
from nimble_lightning.ops.sharded_tensors import pretended, works_on_whole
from nimble_lightning.usage.rank_record import RankRecord

# Forward and backward pass of a transformer, for each parameter and token.
_A_TOKEN = 6


class WorkCounters:
    """Counts in the training thread; `tell` may be called from another.

    Args:
        measure: Whether to count the operations of the first batch.

    Attributes:
        first_step: Optimizer steps done when this process began to train; None before.
        counter: Counts operations while the first batch is trained.
    """

    def __init__(self, measure: bool) -> None:
        self.first_step: int | None = None
        self.counter: FlopCounter | None = None
        self._measure = measure
        self._batches = 0
        self._samples = 0
        self._total: int | None = None
        self._tokens: _Tokens | None = None
        self._parameters = 0
        # Of a token where there are any, else of a sample.
        self._flops: float | None = None
        self._of_tokens = False
        self._note = "not asked for" if not measure else "no batch was trained"
        # Set by whoever tells, so that one batch in a while is looked at more closely.
        self._look = True

    def begin(self, module: torch.nn.Module, step: int, left: int | None) -> None:
        """Training starts, with so many batches to come."""
        if self.first_step is None:
            self.first_step = step
        self._total = None if left is None else self._batches + left
        self._parameters = sum(p.numel() for p in module.parameters() if p.requires_grad)
        if self._measure and self._flops is None:
            if countable(module):
                self.counter = FlopCounter()
            else:
                self._note = "the model is compiled, so its operations cannot be counted"

    def add(self, batch: Any) -> None:
        """A batch has been trained."""
        self._batches += 1
        self._samples += _samples(batch)
        if self._look:
            self._look_at(batch)
        elif self._tokens is not None and (shaped := shaped_tokens(batch)):
            self._tokens.add(batch, shaped)

    def counted(self, batch: Any) -> None:
        """Counting is over, with this batch or, cut short, with none."""
        if self.counter is None:
            return
        total, self.counter = self.counter.total, None
        if batch is None or not total:
            self._note = "no operation with a known count was seen"
            return
        shaped, samples = shaped_tokens(batch), max(size_of(batch), 1)
        self._flops, self._of_tokens = total / (shaped or samples), bool(shaped)
        measure = "tokens, padding left out" if shaped else "samples"
        self._note = f"counted on a batch of {samples}, all that is done twice included; scaled by {measure}"

    def tell(self, piece: RankRecord) -> None:
        """Bring a piece up to date; may wait for the device, for a few numbers."""
        piece.samples, piece.done, piece.total = self._samples, self._batches, self._total
        if self._tokens is not None:
            piece.tokens, piece.tokens_kind, piece.tokens_note = self._tokens.read()
        piece.flops, piece.flops_note = self._operations(piece)
        self._look = True

    def _look_at(self, batch: Any) -> None:
        self._look = False
        if shaped := shaped_tokens(batch):
            self._tokens = self._tokens or _Tokens()
            self._tokens.add(batch, shaped)
            self._tokens.look_at(batch, shaped)

    def _operations(self, piece: RankRecord) -> tuple[float | None, str]:
        tokens = piece.tokens
        if self._flops is not None:
            return self._flops * ((tokens or 0.0) if self._of_tokens else self._samples), self._note
        if self._measure and tokens and self._parameters and self._batches:
            flops = _A_TOKEN * self._parameters * tokens / piece.sharing
            return flops, f"{_A_TOKEN} x parameters x tokens; {self._note}"
        return None, self._note


def _samples(batch: Any) -> int:
    """As `size_of`, which takes several times as long, for the batches that most loaders make."""
    kind = type(batch)
    first = batch[0] if (kind is tuple or kind is list) and batch else batch
    if kind is dict:
        first = next(iter(batch.values()), None)
    return first.shape[0] if type(first) is torch.Tensor and first.ndim else size_of(batch)


class _Tokens:
    """Counts what batches tell of their tokens; of others the shape, and in a few how much is padding."""

    def __init__(self) -> None:
        self._shaped = 0
        self._told: torch.Tensor | int = 0
        self._real = 0
        self._looked_at = 0
        self._masks: list[torch.Tensor] = []

    def add(self, batch: Mapping[str, Any], shaped: int) -> None:
        told = told_tokens(batch)
        if told is None:
            self._shaped += shaped
        else:
            self._told = self._told + told

    def look_at(self, batch: Mapping[str, Any], shaped: int) -> None:
        """Have the device count what is not padding; the answer is read later, in another thread."""
        mask = batch.get(MASK)
        if isinstance(mask, torch.Tensor) and told_tokens(batch) is None and len(self._masks) < 2:
            self._looked_at += shaped
            self._masks.append(mask.detach().count_nonzero())

    def read(self) -> tuple[float, str, str]:
        """The tokens so far, how that is known, and a note. May wait for the device."""
        while self._masks:
            self._real += int(self._masks.pop())
        told = float(self._told)
        if told and not self._shaped:
            return told, "measured", "of texts; padding is not counted"
        if not self._looked_at:
            return told + self._shaped, "measured", "as many as input_ids holds"
        if self._real == self._looked_at:
            return told + self._shaped, "measured", "no padding was seen"
        share = self._real / self._looked_at
        return (
            told + self._shaped * share,
            "estimated",
            f"{share:.0%} of {self._shaped:,}; the rest is padding",
        )


class FlopCounter(TorchDispatchMode):
    """Adds up what the operations inside it take, forward and backward, by PyTorch's own formulas.

    Every operation runs exactly as it would; there is no second pass, no copy and no random number. What has
    no formula (element-wise operations, kernels of one's own) counts nothing. Activations that are computed
    again count again.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0
        self._counting = False

    def begin(self) -> None:
        """Count from here on, in this thread and in the backward passes it starts."""
        if not self._counting:
            self.__enter__()  # type: ignore[no-untyped-call]
            self._counting = True

    def end(self) -> None:
        if self._counting:
            self._counting = False
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if works_on_whole(types):
            return NotImplemented
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = None if pretended() else flop_registry.get(getattr(func, "_overloadpacket", None))
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=out)
        return out


def countable(module: torch.nn.Module) -> bool:
    """Whether operations can be seen one by one; those of a compiled module cannot."""
    return not any(
        getattr(part, "_compiled_call_impl", None) is not None or hasattr(part, "_orig_mod")
        for part in module.modules()
    )
