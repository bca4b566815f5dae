"""What an `HFTrainer` trains, as the methods that our adapters know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accelerate.data_loader import (  # type: ignore[import-untyped]
    BatchSamplerShard,
    IterableDatasetShard,
)
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, IterableDataset
from transformers.optimization import GreedyLR

from nimble_lightning.data import make_loader
from nimble_lightning.data.loader import Loader, Options
from nimble_lightning.data.torch_order_loader import TorchOrderLoader
from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.ops.batches import size_of

_IGNORED = -100


class HFSteps:
    """The four-method face of an HFTrainer.

    Args:
        hf: The HFTrainer whose model, loss and optimizer it is.
        loader: Of the training data.
    """

    def __init__(self, hf: Any, loader: Loader) -> None:
        # Out of sight of those who look for what a trainer remembers: it keeps its own.
        self._hf: Callable[[], Any] = lambda: hf
        self._loader: Callable[[], Loader] = lambda: loader
        self.model = hf.model
        self.samples_of_batch = 1

    def pre_process(self) -> None:
        """Everything is there."""

    def train_dataloader(self) -> Loader:
        return self._loader()

    def train(self, batch: Any) -> tuple[Tensor, Any]:
        """The mean loss of a batch and its weight: its labels where transformers counts those.

        Elsewhere transformers weighs batches alike, whatever their sizes, so a part of one weighs its share.
        """
        hf = self._hf()
        samples = size_of(batch)
        inputs = hf._prepare_inputs(batch)
        items = _items(hf, inputs)
        loss = _loss_of(hf, inputs, items)
        return loss, samples / self.samples_of_batch if items is None else items

    def configure_optimizers(self) -> Any:
        hf = self._hf()
        if not follows_steps(hf.lr_scheduler):
            return hf.optimizer
        return {"optimizer": hf.optimizer, "lr_scheduler": {"scheduler": hf.lr_scheduler, "interval": "step"}}


def follows_steps(schedule: Any) -> bool:
    """Whether it moves after every step, rather than after evaluations, as transformers has it then."""
    return schedule is not None and not isinstance(schedule, ReduceLROnPlateau | GreedyLR)


def loader_of(ready: Any, hf: Any) -> Loader:
    """A loader with a position, in the order and the batches of the one that `get_train_dataloader` gave."""
    if not isinstance(ready, DataLoader):
        raise RequestError(
            f"get_train_dataloader returned a {type(ready).__name__}; expected a torch.utils.data.DataLoader."
        )
    args = hf.args
    options = Options(
        batch_size=ready.batch_size or args.train_batch_size,
        seed=args.seed,
        shuffle=True,
        rank=args.process_index,
        world_size=args.world_size,
        num_workers=ready.num_workers,
        collate=ready.collate_fn,
        pin_memory=ready.pin_memory and args.device.type == "cuda",
    )
    dataset = ready.dataset
    if isinstance(dataset, IterableDatasetShard):
        dataset = dataset.dataset
    if isinstance(dataset, IterableDataset):
        stream = make_loader(
            dataset,
            **{name: getattr(options, name) for name in ("batch_size", "seed", "shuffle", "rank")},
            world_size=options.world_size,
            num_workers=options.num_workers,
            collate=options.collate,
            pin_memory=options.pin_memory,
            drop_last=args.dataloader_drop_last,
        )
        # What transformers asks of a loader.
        stream.dataset, stream.batch_size = dataset, options.batch_size  # type: ignore[attr-defined]
        return stream
    batches = ready.batch_sampler
    if isinstance(batches, BatchSamplerShard):
        batches = batches.batch_sampler
    if batches is None:
        raise RequestError(
            "get_train_dataloader returned a DataLoader with batch_size=None; give it batches."
        )
    return TorchOrderLoader(dataset, batches, options, ready)


def _items(hf: Any, inputs: Any) -> Any:
    """How many labels the loss is a mean over, where transformers weighs by them; of this batch alone."""
    if "labels" not in inputs or not (hf.model_accepts_loss_kwargs or hf.compute_loss_func is not None):
        return None
    labels = inputs.get("shift_labels")
    if labels is None:
        labels = inputs["labels"][..., 1:] if hf._loss_shifts_labels else inputs["labels"]
    return labels.ne(_IGNORED).sum() if isinstance(labels, Tensor) else None


def _loss_of(hf: Any, inputs: Any, items: Any) -> Tensor:
    """What `training_step` returns, with its graph; a backward pass of its own becomes that of the engine."""
    caught: list[Tensor] = []
    args, average = hf.args, hf.args.average_tokens_across_devices
    hf.accelerator.backward = lambda loss, **_: caught.append(loss)
    # Ranks and batches are weighed by the engine: as often as this loss would be multiplied, it divides.
    args.average_tokens_across_devices = False
    try:
        loss = hf.training_step(hf.model_wrapped, inputs, items)
    finally:
        args.average_tokens_across_devices = average
        del hf.accelerator.backward
    if caught:
        return caught[0] if len(caught) == 1 else sum(caught[1:], caught[0])
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        raise TrainerError(
            f"{type(hf).__name__}.training_step returned a loss without gradients. Return the loss that "
            "super().training_step() returned, or call self.accelerator.backward(loss)."
        )
    return loss
