"""A resumed run goes on with the same bits: random numbers, the loader's position, Lightning's counters."""

from __future__ import annotations

import functools
import logging
import warnings
from typing import Any

import lightning as L
from typing_extensions import override

from nimble_lightning.callbacks._batch_start import go_straight_on, settle
from nimble_lightning.callbacks._training_loaders import Source, flat, read_as_they_are, tell_epoch
from nimble_lightning.callbacks._user_state import UserState
from nimble_lightning.data import Loader, make_loader, rng
from nimble_lightning.data.iteration import Iteration
from nimble_lightning.data.plain_dataloader import can_be_taken_apart
from nimble_lightning.ops.lightning_packages import serves_both
from nimble_lightning.ranks import everyones, mine, share_of_data

log = logging.getLogger(__name__)


@serves_both
class ExactResume(L.Callback):
    """Completes Lightning's checkpoints with what it leaves out, and puts it back.

    Attributes of the trainer or LightningModule, of its datamodule and optimizers, and of objects within them
    are kept if they changed since training began: plain values, containers of these, arrays, tensors, random
    generators, and what has `state_dict` and `load_state_dict`. Anything else is named at the first save.

    Checkpoints are exact when taken at the start of a training batch (as `AutoRetry` does): everything the
    step before brought with it, validation and schedules included, is done then, and nothing of the next
    step has happened.

    The loaders of a project are left as they are, and so is the order in which they visit their samples:
    what `seed_everything` and a loader's own `generator` decide. A resume passes over what was trained on in
    its epoch; loaders of classes that have an iteration of their own are read again up to there.

    Args:
        seed: Have ordinary DataLoaders visit their dataset in an order of ours instead, which depends on this
            and the epoch alone: quick to go on in, also on another number of ranks, and every random draw
            made while data is read repeats itself, in workers and streams too.

    Example::

        L.Trainer(callbacks=[ExactResume()]).fit(model, data, ckpt_path="last")
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed
        self._loader: Loader | None = None
        self._iteration: Iteration | None = None
        self._iterated: dict[str, Any] | None = None
        self._source: Source | None = None
        self._position: dict[str, Any] | None = None
        self._random: dict[str, Any] | None = None
        self._user: UserState | None = None
        self._user_states: list[dict[str, Any]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A copy belongs to no run yet.
        return {**vars(self), **vars(ExactResume(self.seed))}

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._user = self._loader = self._iteration = None
        if stage == "fit":
            self._source = Source(trainer, functools.partial(self.adopt, trainer=trainer))
            self._source.stand_before()

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._user = UserState(trainer, pl_module)
        # Before the first batch is read.
        self._restore_user()

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._iterated is not None and self._iteration is not None:
            if not self._iteration.restore(self._iterated):
                self._random = None
            self._iterated = None
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
        elif self._iteration is not None:
            self._iteration.consumed()

    @override
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._step_aside()

    @override
    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._step_aside()

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
        elif self._iteration is not None:
            own["iteration"] = everyones(self._iteration.state_dict(trainer.num_training_batches))
        own["between_steps"] = settle(checkpoint)

    @override
    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        own = checkpoint.get("nimble", {})
        self._position = own.get("loader")
        self._iterated = None if (states := own.get("iteration")) is None else mine(states)
        self._user_states = own.get("attributes")
        # Some strategies load when everything is set up.
        self._restore_user()
        if own.get("between_steps"):
            go_straight_on(trainer)
        if (random := own.get("random")) is not None:
            before, now = own.get("shares", list(range(len(random)))), _shares(trainer)
            self._random = mine(random) if before == now else None
            if self._random is None:
                samples = (
                    "this epoch reads its samples from the first again; ExactResume(seed=N) would go on"
                    if "iteration" in own
                    else "no sample is lost or repeated, but bits may differ"
                )
                log.warning("resuming on %s what ran on %s: %s", _told(now), _told(before), samples)

    def _step_aside(self) -> None:
        if self._source is not None:
            self._source.step_aside()

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

    def adopt(self, loaders: Any, trainer: L.Trainer) -> Any:
        """What the trainer is to read from, in place of what the project gives."""
        if isinstance(loaders, Loader) or any(map(_knows_its_place, flat(trainer, loaders))):
            return loaders
        if self.seed is not None and can_be_taken_apart(loaders) and not trainer.overfit_batches:
            return self._ordered(loaders, self.seed, trainer)
        if self._iterated is not None:
            # What Lightning says of every loader that has no state of its own.
            warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before the epoch")
        self._iteration = Iteration(functools.partial(self._begin_resumed, trainer))
        if self._iterated is not None:
            self._iteration.load_state_dict(self._iterated)
        return read_as_they_are(trainer, loaders, self._iteration)

    def _ordered(self, loader: Any, seed: int, trainer: L.Trainer) -> Loader:
        """A loader of ours for the same data."""
        rank, parts = share_of_data(trainer.strategy)
        self._loader = make_loader(
            loader,
            batch_size=loader.batch_size or 1,
            seed=seed,
            shuffle=True,
            rank=rank,
            world_size=parts,
        )
        if self._position is not None:
            self._loader.load_state_dict(self._position)
        return self._loader

    def _begin_resumed(self, trainer: L.Trainer, loaders: list[Any]) -> None:
        """An epoch that begins in its middle, or with what was drawn by the end of the one before."""
        tell_epoch(trainer, loaders)
        if self._random is not None:
            rng.restore(self._random)


def _shares(trainer: L.Trainer) -> list[int]:
    """Which part of the samples each rank has; every rank must call this."""
    return everyones(share_of_data(trainer.strategy)[0])


def _told(shares: list[int]) -> str:
    parts = len(set(shares))
    cut = f", {len(shares) // parts} for a layer" if parts < len(shares) else ""
    return f"{len(shares)} ranks{cut}"


def _knows_its_place(loader: Any) -> bool:
    """Whether Lightning keeps its state, as torchdata's loaders have one."""
    return callable(getattr(loader, "state_dict", None)) and callable(
        getattr(loader, "load_state_dict", None)
    )
