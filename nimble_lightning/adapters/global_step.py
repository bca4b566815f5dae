"""One optimizer step over one global batch, however it has to be cut to fit.

A batch goes through in pieces; each piece is weighted by the items it holds, so the gradient is that of the
uncut batch over all ranks. Running out of memory halves the piece and redoes the *same* batch from untouched
weights, on every rank at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nimble_lightning.adapters import out_of_memory
from nimble_lightning.adapters.distributed import gradient_sums
from nimble_lightning.adapters.distributed.gradient_exchange import NoExchange
from nimble_lightning.adapters.losses import LabelCount, loss_and_count
from nimble_lightning.errors import TrainerError
from nimble_lightning.ops.batches import can_split, size_of, split

log = logging.getLogger(__name__)

# From a piece and its samples to its mean loss and how many items that is a mean of.
LossOf = Callable[[Any, int], tuple[Tensor, float]]


@dataclass
class Window:
    """The batches since the last optimizer step (one, unless gradients are accumulated)."""

    unit: float = 0.0
    items: float = 0.0
    batches: int = 0


@dataclass
class Done:
    """The result of a batch.

    The mean loss (still on the device), the items it is a mean of, a piece whose backward pass waits for
    the other ranks, and the items of all ranks and batches of the step so far.
    """

    loss: Tensor
    items: float
    held: Tensor | None = None
    total: float = 0.0


@dataclass
class PieceLoss:
    """The user's `train` and `compute_loss`, as one function from a piece to its mean loss and count."""

    train: Callable[[Any], Any]
    compute_loss: Callable[..., Any] | None = None
    label_count: LabelCount = field(default_factory=LabelCount)
    smoothing: float = 0.0

    def __call__(self, piece: Any, samples: int) -> tuple[Tensor, float]:
        return self.of(self.train(piece), piece, samples)

    def of(self, output: Any, piece: Any, samples: int) -> tuple[Tensor, float]:
        """The same of what `train` has returned."""
        loss, count = loss_and_count(
            output, piece, samples, self.compute_loss, self.label_count, self.smoothing
        )
        return loss, float(count)


class Pieces:
    """How much of a batch goes through at once; halves when memory runs out and stays there.

    Args:
        size: Samples a piece, or None for whole batches until memory runs out.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size

    def of(self, batch: Any, samples: int) -> list[Any]:
        return [batch] if self.size is None or samples <= self.size else list(split(batch, self.size))

    def too_large(self, samples: int, reason: str) -> TrainerError:
        """What to say where no smaller piece can be tried."""
        return TrainerError(
            f"Out of memory with {min(self.size or samples, samples)} samples: {reason}\n"
            "Other ranks wait for this one in the middle of the model, so the batch cannot be tried again in "
            "smaller pieces. Give a smaller data.micro_batch_size or data.batch_size."
        )

    def halve(self, samples: int, splittable: bool, reason: str) -> None:
        before = min(self.size or samples, samples)
        if before <= 1 or not splittable:
            what = "one sample" if before <= 1 else f"a batch of {samples} that cannot be cut into pieces"
            raise TrainerError(
                f"Out of memory with {what}: {reason}\n"
                "Use a smaller model, shorter samples, lightning.precision=bf16-mixed or "
                "model.gradient_checkpointing=true."
            )
        self.size = (before + 1) // 2
        log.warning(
            "out of memory with %d samples at once (%s): going on with %d; the batch stays the same",
            before,
            reason,
            self.size,
        )


@dataclass
class Backward:
    """Forward and backward of one batch on this rank, in pieces, without touching weights."""

    loss_of: LossOf
    pieces: Pieces
    exchange: NoExchange
    begin: Callable[[], None]
    window: Window = field(default_factory=Window)

    def __call__(self, batch: Any, samples: int, complete: bool) -> Done:
        self.begin()
        own = self.pieces.of(batch, samples)
        pieces = self._as_many_as_others(own)
        parts: list[tuple[Tensor, float]] = []
        unit, held = self.window.unit, None
        for number, piece in enumerate(pieces, 1):
            loss, count = self.loss_of(piece, samples if piece is batch else size_of(piece))
            count = count if number <= len(own) else 0.0
            last = complete and number == len(pieces)
            unit = unit or self.exchange.unit(max(samples, count))
            if count:
                parts.append((loss.detach(), count))
            elif self.exchange.may_skip(last):
                continue
            held = self.exchange.backward(loss if count == unit else loss * (count / unit), last)
        self.window.unit = unit
        if len(parts) == 1:
            return Done(*parts[0], held)
        items = sum(count for _, count in parts)
        return Done(sum((loss * (count / items) for loss, count in parts), torch.zeros(())), items, held)

    def _as_many_as_others(self, own: list[Any]) -> list[Any]:
        """Where ranks meet in every piece, one that has fewer repeats its last, which then counts nothing."""
        missing = 0 if self.pieces.size is None else self.exchange.pieces(len(own)) - len(own)
        return [*own, *own[-1:] * missing]

    def attempt(self, batch: Any, samples: int, complete: bool) -> Done | str:
        """Run a step; where memory runs out, return what happened instead of raising.

        Only words survive: an exception would keep the batch alive.
        """
        try:
            return self(batch, samples, complete)
        except Exception as error:
            if not out_of_memory.is_out_of_memory(error):
                raise
            return out_of_memory.in_words(error)


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of a module that are trained."""
    return [p for p in module.parameters() if p.requires_grad]


@dataclass
class Redoable:
    """Running statistics and random numbers, which a failed try may have changed, and how to restore them."""

    statistics: list[Tensor]
    random: Tensor | None = None
    cuda: list[Tensor] | None = None
    kept: list[Tensor] = field(default_factory=list)

    @classmethod
    def watching(cls, module: nn.Module) -> Redoable:
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
        return cls([b for m in norms for b in m.buffers(recurse=False)])

    def remember(self) -> None:
        self.random = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
        self.kept = [b.clone() for b in self.statistics]

    def undo(self) -> None:
        if self.random is not None:
            torch.set_rng_state(self.random)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(self.cuda)
        for buffer, kept in zip(self.statistics, self.kept, strict=True):
            buffer.copy_(kept)


class GlobalStep:
    """Runs batches through `Backward` and says when the optimizer may step.

    Args:
        backward: Forward and backward of a batch.
        module: Whose parameters are trained.
        accumulate: Batches a step.
        redoable: Whether a batch can be tried again; not where ranks wait for each other in the middle of it.
    """

    def __init__(
        self, backward: Backward, module: nn.Module, accumulate: int = 1, redoable: bool = True
    ) -> None:
        self.backward = backward
        self.parameters = trainable(module)
        self.accumulate = accumulate
        self.redoable = redoable
        self._redo = Redoable.watching(module)

    def run(self, batch: Any, last: bool, zero_grad: Callable[[], None]) -> tuple[Done, bool]:
        """What the batch came to, and whether the gradients are complete and ready for the optimizer."""
        window = self.backward.window
        if not window.batches:
            zero_grad()
        samples = size_of(batch)
        complete = last or window.batches + 1 >= self.accumulate
        earlier = gradient_sums.set_aside(self.parameters) if window.batches else []
        done, total = self._until_it_fits(batch, samples, complete, zero_grad)
        gradient_sums.put_back(earlier)
        window.items += done.items
        window.batches += 1
        done.total = total
        if complete:
            self._finish(window, total, done.held, samples)
        return done, complete

    def _until_it_fits(
        self, batch: Any, samples: int, complete: bool, zero_grad: Callable[[], None]
    ) -> tuple[Done, float]:
        before = self.backward.window.items, self.backward.window.unit
        self._redo.remember()
        while True:
            done: Done | str = self.backward.attempt(batch, samples, complete)
            if isinstance(done, str):
                if not self.redoable:
                    raise self.backward.pieces.too_large(samples, done)
                self.backward.exchange.agree(True, 0.0)
            else:
                failed, total = self.backward.exchange.agree(False, before[0] + done.items)
                if not failed:
                    return done, total
                # What waits to go backward must not fill the memory of the next try.
                done = "on another rank"
            zero_grad()
            out_of_memory.release()
            self.backward.pieces.halve(samples, can_split(batch), done)
            self._redo.undo()
            self.backward.window.unit = before[1]

    def _finish(self, window: Window, total: float, held: Tensor | None, samples: int) -> None:
        """From sums in this rank's unit to the mean over everything."""
        try:
            self.backward.exchange.finish(window.unit, window.items, total, held)
        except Exception as error:
            if not out_of_memory.is_out_of_memory(error):
                raise
            raise self.backward.pieces.too_large(samples, out_of_memory.in_words(error)) from error
        window.unit, window.items, window.batches = 0.0, 0.0, 0
