"""The user's datasets as a LightningDataModule: `pre_process` runs in `setup`, loaders know their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader
from typing_extensions import override

from nimble_lightning.adapters.hugging_face_data import padding_collate, without_unused
from nimble_lightning.adapters.user_trainer import UserTrainer
from nimble_lightning.data import Loader, make_loader
from nimble_lightning.data.lengths import lengths_of
from nimble_lightning.data.sliced_loader import as_columns
from nimble_lightning.data.source import is_hugging_face
from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.ranks import share_of_data
from nimble_lightning.settings import RunSettings

# Which a loader that the user has made has its own of.
_OF_TRAINING = (
    *("data.batch_size", "data.num_workers", "data.drop_last", "data.group_by_length"),
    "data.remove_unused_columns",
)
_OF_EVALUATION = ("data.eval_batch_size",)


class NimbleData(L.LightningDataModule):
    """Loaders over what `pre_process` left on the trainer.

    `train_data` is trained on, `eval_data` (or `val_data`) evaluated, `test_data` tested; a trainer may
    define `train_dataloader`, `eval_dataloader`, `test_dataloader` instead.
    """

    def __init__(self, user: UserTrainer, settings: RunSettings) -> None:
        super().__init__()
        self.user = user
        self.settings = settings
        self.train_loader: Loader | None = None
        self._position: dict[str, Any] | None = None

    @override
    def setup(self, stage: str) -> None:
        self.user.prepare()
        if not self.has_eval_data:
            # Lightning leaves validation out where nothing overrides this; an empty list it would complain
            # about.
            setattr(self, "val_dataloader", super().val_dataloader)  # noqa: B010

    @override
    def train_dataloader(self) -> Loader:
        self.train_loader = self._training_loader()
        if self._position is not None:
            self.train_loader.load_state_dict(self._position)
            self._position = None
        return self.train_loader

    @override
    def val_dataloader(self) -> Any:
        return self._evaluation_loader("eval_dataloader", "eval_data", "val_data", "eval_dataset")

    @override
    def test_dataloader(self) -> Any:
        return self._evaluation_loader("test_dataloader", "test_data", "test_dataset")

    @override
    def predict_dataloader(self) -> Any:
        return (
            self._evaluation_loader("predict_dataloader", "predict_data")
            or self.test_dataloader()
            or self.val_dataloader()
        )

    def holdout_dataloader(self) -> Any:
        """Data for the last word on a model. Lightning knows no such loader, so nothing of its opens it."""
        return self._evaluation_loader("holdout_dataloader", "holdout_data")

    def batches_per_epoch(self) -> int | None:
        """Training batches on this rank; None for a stream."""
        loader = self._training_loader()
        return len(loader) if hasattr(loader, "__len__") else None

    @property
    def has_train_data(self) -> bool:
        return self._source("train_dataloader", "train_data", "train_dataset") is not None

    @property
    def has_test_data(self) -> bool:
        return self._source("test_dataloader", "test_data", "test_dataset") is not None

    @property
    def has_eval_data(self) -> bool:
        return self._source("eval_dataloader", "eval_data", "val_data", "eval_dataset") is not None

    @override
    def state_dict(self) -> dict[str, Any]:
        return {} if self.train_loader is None else {"train": self.train_loader.state_dict()}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._position = state_dict.get("train")
        if self.train_loader is not None and self._position is not None:
            self.train_loader.load_state_dict(self._position)

    def _training_loader(self) -> Loader:
        source = self._source("train_dataloader", "train_data", "train_dataset")
        if source is None:
            raise TrainerError(
                f"{self.user.name} has no training data. Set self.train_data in pre_process, or define "
                "train_dataloader."
            )
        return self._loader(source, self.settings.data.batch_size, "training", train=True)

    def _evaluation_loader(self, *names: str) -> Any:
        """A loader; for several sets of data, a list of one each."""
        source = self._source(*names)
        size = self.settings.data.eval_batch_size or self.settings.data.batch_size
        purpose = names[0].removesuffix("_dataloader")
        if source is None:
            return []
        if not are_sets(source):
            return self._loader(source, size, purpose, train=False)
        loaders = []
        for name, part in source.items():
            loader = self._loader(part, size, f"{purpose} data {name!r} of the", train=False)
            loader.part = name
            loaders.append(loader)
        return loaders

    def _source(self, method: str, *attributes: str) -> Any:
        build = self.user.method(method)
        return self.user.get(*attributes) if build is None else build()

    def _loader(self, source: Any, batch_size: int, purpose: str, *, train: bool) -> Loader:
        data, trainer = self.settings.data, self.trainer
        if data.remove_unused_columns:
            source = without_unused(source, self.user)
        if isinstance(source, DataLoader):
            self._refuse_without_effect(_OF_TRAINING if train else _OF_EVALUATION)
        on_gpu = (
            trainer is not None
            and isinstance(trainer.strategy.root_device, torch.device)
            and trainer.strategy.root_device.type == "cuda"
        )
        rank, parts = share_of_data(trainer.strategy) if trainer else (0, 1)
        try:
            loader = make_loader(
                source,
                batch_size=batch_size,
                seed=self.settings.seed if data.seed is None else data.seed,
                # Overfitting means the same batches each epoch; Lightning could not turn our order off.
                shuffle=train and data.shuffle and not (trainer and trainer.overfit_batches),
                rank=rank,
                world_size=parts,
                num_workers=data.num_workers,
                collate=self.user.method("collate") or self._padding(source),
                pin_memory=on_gpu if data.pin_memory == "auto" else data.pin_memory,
                drop_last=train and data.drop_last,
                lengths=lengths_of(source) if train and data.group_by_length else None,
            )
        except TrainerError as error:
            raise TrainerError(f"{purpose} data: {error}") from None
        loader.name = f"the {purpose} data"
        return loader

    def _padding(self, source: Any) -> Callable[[list[Any]], Any] | None:
        """Of data read row by row; tensors are rows of one length already."""
        padding = padding_collate(self.user)
        return None if padding is None or as_columns(source) is not None else padding

    def _refuse_without_effect(self, settings: Sequence[str]) -> None:
        asked = [name for name in settings if name in (self.settings.asked or ())]
        if asked:
            raise RequestError(
                f"{asked[0]} would change nothing: {self.user.name} made a DataLoader, which has its own\n"
                "Give the dataset instead, or set it there (a keyword of pre_process makes it a setting)"
            )


def are_sets(source: Any) -> bool:
    """Whether it is several sets of data by name, rather than one of several columns."""
    if is_hugging_face(source, "DatasetDict"):
        return True
    if not isinstance(source, Mapping) or not source:
        return False
    return not any(isinstance(values, torch.Tensor | np.ndarray) for values in source.values())
