"""A resumed run goes on with the same bits: random numbers, the loader's position, Lightning's counters."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
from lightning.pytorch.trainer.connectors.data_connector import _DataLoaderSource
from typing_extensions import override

from nimble_lightning.callbacks._batch_start import go_straight_on, settle
from nimble_lightning.callbacks._user_state import UserState
from nimble_lightning.data import Loader, make_loader, rng
from nimble_lightning.ranks import everyones, mine, share_of_data

log = logging.getLogger(__name__)


class ExactResume(L.Callback):
    """Completes Lightning's checkpoints with what it leaves out, and puts it back.

    Attributes of the trainer or LightningModule, of its datamodule and optimizers, and of objects within them
    are kept if they changed since training began: plain values, containers of these, arrays, tensors, random
    generators, and what has `state_dict` and `load_state_dict`. Anything else is named at the first save.

    Checkpoints are exact when taken at the start of a training batch (as `AutoRetry` does): everything the
    step before brought with it, validation and schedules included, is done then, and nothing of the next
    step has happened.

    In a project with ordinary DataLoaders the training loader is replaced by one that visits the same dataset
    in an order that depends on the seed and the epoch alone, and so can continue anywhere.

    Args:
        seed: Of the sample order, for loaders that are not ours already.

    Example::

        L.Trainer(callbacks=[ExactResume()]).fit(model, data, ckpt_path="last")
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._loader: Loader | None = None
        self._position: dict[str, Any] | None = None
        self._random: dict[str, Any] | None = None
        self._user: UserState | None = None
        self._user_states: list[dict[str, Any]] | None = None

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._user = None
        if stage == "fit" and not isinstance(trainer.fit_loop._data_source, _PositionedSource):
            trainer.fit_loop._data_source = _PositionedSource(trainer.fit_loop._data_source, self, trainer)

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._user = UserState(trainer, pl_module)
        # Before the first batch is read.
        self._restore_user()

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._restore()

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # A run resumed at its very end has no further batch, but there may be draws after it.
        self._restore()

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore()

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._loader is not None:
            self._loader.consumed()

    @override
    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        own = checkpoint.setdefault("nimble", {})
        # What waits to be restored is what the run goes on with, whatever was drawn meanwhile.
        own["random"] = everyones(rng.snapshot() if self._random is None else self._random)
        own["shares"] = _shares(trainer)
        if self._user is not None:
            own["attributes"] = self._user.states()
        if self._loader is not None:
            own["loader"] = self._loader.state_dict()
        own["between_steps"] = settle(checkpoint)

    @override
    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        own = checkpoint.get("nimble", {})
        self._position = own.get("loader")
        self._user_states = own.get("attributes")
        # Some strategies load when everything is set up.
        self._restore_user()
        if own.get("between_steps"):
            go_straight_on(trainer)
        if (random := own.get("random")) is not None:
            before, now = own.get("shares", list(range(len(random)))), _shares(trainer)
            self._random = mine(random) if before == now else None
            if self._random is None:
                log.warning(
                    "resuming on %s what ran on %s: no sample is lost or repeated, but bits may differ",
                    _told(now),
                    _told(before),
                )

    def _restore(self) -> None:
        if self._random is not None:
            rng.restore(self._random)
            self._random = None
        # Again, for hooks at the start of training may have begun anew what goes on here.
        self._restore_user()
        self._user_states = None

    def _restore_user(self) -> None:
        if self._user is not None and self._user_states is not None:
            self._user.restore(self._user_states)

    def adopt(self, loader: Any, trainer: L.Trainer) -> Any:
        """The loader with a position of its own. One that is ours already is left to its owner."""
        if isinstance(loader, Loader) or trainer.overfit_batches:
            return loader
        if not hasattr(loader, "dataset") or not hasattr(loader, "batch_size"):
            log.warning(
                "the training data is a %s, which cannot say where it is: a resume starts its epoch anew",
                type(loader).__name__,
            )
            return loader
        rank, parts = share_of_data(trainer.strategy)
        self._loader = make_loader(
            loader,
            batch_size=loader.batch_size or 1,
            seed=self.seed,
            shuffle=True,
            rank=rank,
            world_size=parts,
        )
        if self._position is not None:
            self._loader.load_state_dict(self._position)
        return self._loader


def _shares(trainer: L.Trainer) -> list[int]:
    """Which part of the samples each rank has; every rank must call this."""
    return everyones(share_of_data(trainer.strategy)[0])


def _told(shares: list[int]) -> str:
    parts = len(set(shares))
    cut = f", {len(shares) // parts} for a layer" if parts < len(shares) else ""
    return f"{len(shares)} ranks{cut}"


class _PositionedSource(_DataLoaderSource):
    """Lightning's way to a project's training loader, with `adopt` at its end."""

    def __init__(self, source: _DataLoaderSource, resume: ExactResume, trainer: L.Trainer) -> None:
        super().__init__(source.instance, source.name)
        self._resume = resume
        self._trainer = trainer

    @override
    def dataloader(self) -> Any:
        return self._resume.adopt(super().dataloader(), self._trainer)
