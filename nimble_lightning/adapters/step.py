"""One optimizer step over one global batch, however it has to be cut to fit.

A batch goes through in pieces; each piece is weighted by the items it holds, so the gradient is that of the
uncut batch over all
ranks. Running out of memory halves the piece and redoes the *same* batch from untouched weights, on every
rank at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nimble_lightning.adapters import gradients, memory
from nimble_lightning.adapters.losses import loss_and_count
from nimble_lightning.errors import TrainerError
from nimble_lightning.ops.batches import can_split, size_of, split

log = logging.getLogger(__name__)


@dataclass
class Window:
    """The batches since the last optimizer step (one, unless gradients are accumulated)."""

    unit: float = 0.0
    items: float = 0.0
    batches: int = 0


@dataclass
class Done:
    """What a batch came to: the mean loss (still on the device) and the items it is a mean of."""

    loss: Tensor
    items: float


@dataclass
class PieceLoss:
    """The user's `train` and `compute_loss`, as one function from a piece to its mean loss and count."""

    train: Callable[[Any], Any]
    compute_loss: Callable[..., Any] | None = None

    def __call__(self, piece: Any, samples: int) -> tuple[Tensor, float]:
        loss, count = loss_and_count(self.train(piece), piece, samples, self.compute_loss)
        return loss, float(count)


class Pieces:
    """How much of a batch goes through at once; halves when memory runs out and stays there.

    Args:
        size: Samples a piece, or None for whole batches until memory runs out.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size

    def of(self, batch: Any, samples: int) -> Any:
        return (batch,) if self.size is None or samples <= self.size else split(batch, self.size)

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

    loss_of: PieceLoss
    pieces: Pieces
    backward: Callable[[Tensor], None]
    begin: Callable[[], None]
    window: Window = field(default_factory=Window)

    def __call__(self, batch: Any, samples: int) -> Done:
        self.begin()
        parts: list[tuple[Tensor, float]] = []
        unit = self.window.unit
        for piece in self.pieces.of(batch, samples):
            loss, count = self.loss_of(piece, samples if piece is batch else size_of(piece))
            if not count:
                continue
            unit = unit or (samples if count <= samples else count)
            self.backward(loss if count == unit else loss * (count / unit))
            parts.append((loss.detach(), count))
        self.window.unit = unit
        if len(parts) == 1:
            return Done(*parts[0])
        items = sum(count for _, count in parts)
        return Done(sum((loss * (count / items) for loss, count in parts), torch.zeros(())), items)

    def attempt(self, batch: Any, samples: int) -> Done | str:
        """As calling it, but running out of memory is an answer. Only words survive: an exception would keep
        the batch alive."""
        try:
            return self(batch, samples)
        except Exception as error:
            if not memory.is_out_of_memory(error):
                raise
            return str(error).partition("\n")[0] or type(error).__name__


def trainable(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


@dataclass
class Redoable:
    """What a failed try may have changed besides gradients, and how to undo it: running statistics and random
    numbers."""

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
        world_size: Ranks whose gradients this class adds up itself (1 where the strategy does it).
        redoable: Whether a batch can be tried again; not where ranks wait for each other in the middle of it.
    """

    def __init__(
        self,
        backward: Backward,
        module: nn.Module,
        accumulate: int = 1,
        world_size: int = 1,
        redoable: bool = True,
    ) -> None:
        self.backward = backward
        self.parameters = trainable(module)
        self.accumulate = accumulate
        self.world_size = world_size
        self.redoable = redoable
        self._redo = Redoable.watching(module)
        self._device = self.parameters[0].device if self.parameters else torch.device("cpu")

    def run(self, batch: Any, last: bool, zero_grad: Callable[[], None]) -> tuple[Done, bool]:
        """What the batch came to, and whether the gradients are complete and ready for the optimizer."""
        window = self.backward.window
        if not window.batches:
            zero_grad()
        samples = size_of(batch)
        earlier = gradients.set_aside(self.parameters) if window.batches else []
        done, total = self._until_it_fits(batch, samples, zero_grad)
        gradients.put_back(earlier)
        window.items += done.items
        window.batches += 1
        complete = last or window.batches >= self.accumulate
        if complete:
            self._finish(window, total)
        return done, complete

    def _until_it_fits(self, batch: Any, samples: int, zero_grad: Callable[[], None]) -> tuple[Done, float]:
        before = self.backward.window.items, self.backward.window.unit
        self._redo.remember()
        while True:
            done = self.backward.attempt(batch, samples)
            failed = isinstance(done, str)
            if isinstance(done, str) and not self.redoable:
                raise self.backward.pieces.too_large(samples, done)
            total = before[0] + (0.0 if isinstance(done, str) else done.items)
            if self.world_size > 1:
                failed, total = gradients.agree(failed, total, self._device)
            if not failed and not isinstance(done, str):
                return done, total
            zero_grad()
            memory.release()
            self.backward.pieces.halve(
                samples, can_split(batch), done if isinstance(done, str) else "on another rank"
            )
            self._redo.undo()
            self.backward.window.unit = before[1]

    def _finish(self, window: Window, total: float) -> None:
        """From sums in this rank's unit to the mean over everything."""
        if total and window.unit:
            gradients.scale(self.parameters, window.unit / total)
        if self.world_size > 1:
            gradients.add_up(self.parameters)
        window.unit, window.items, window.batches = 0.0, 0.0, 0
