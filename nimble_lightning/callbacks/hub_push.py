"""Push models and checkpoints to the Hugging Face Hub while training goes on."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import get_args

import lightning as L
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from nimble_lightning.callbacks._guard import guarded
from nimble_lightning.callbacks._output_folder import place
from nimble_lightning.errors import RequestError
from nimble_lightning.export.checkpoint_push import PushTarget
from nimble_lightning.export.checkpoint_watcher import CheckpointWatcher, Strategy
from nimble_lightning.export.exportable_models import models_of
from nimble_lightning.ops.lightning_packages import serves_both
from nimble_lightning.run_folder import CHECKPOINTS, JOB, STAGED

log = logging.getLogger(__name__)


@guarded
@serves_both
class HubPush(Callback):
    """Keeps a repository of the Hub up to date, from a thread; what cannot be pushed is a warning.

    Args:
        repo: `owner/name`; made when first pushed to. None: nothing is pushed.
        strategy: `end`: the model, when training has ended. `every_save`: the model whenever a better one is
            saved. `checkpoint`: also the newest checkpoint, as `last-checkpoint/`. `all_checkpoints`: also
            each of them, under `checkpoints/`; one stays on the disk until it is pushed, also over a kill.
            Saved means committed, with a manifest.
        private: Whether a repository that has to be made is private; None leaves it to the account.
        wait_seconds: How long the end of training waits for pushes that are not done.

    Example::

        L.Trainer(callbacks=[HubPush("me/digits", strategy="every_save")])
    """

    def __init__(
        self,
        repo: str | None = None,
        strategy: Strategy = "end",
        private: bool | None = None,
        wait_seconds: float = 600.0,
    ) -> None:
        if strategy not in get_args(Strategy):
            raise RequestError(
                f"HubPush has no strategy {strategy!r}; there are {', '.join(get_args(Strategy))}."
            )
        if repo is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
            raise RequestError(f"HubPush(repo={repo!r}): expected OWNER/NAME, as in the address of the Hub.")
        self.repo = repo
        self.strategy = strategy
        self.private = private
        self.wait_seconds = wait_seconds
        self._watch: CheckpointWatcher | None = None

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            self._place = place(trainer)

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run or trainer.sanity_checking:
            return
        if self.repo is None:
            log.warning("hub_push has no repo, so nothing is pushed: callbacks.hub_push.repo=OWNER/NAME")
            return
        # The trainer's own object holds the tokenizer, too.
        owner = getattr(getattr(pl_module, "user", None), "object", pl_module)
        target = PushTarget(self.repo, self.private, self._place / STAGED)
        self._watch = CheckpointWatcher(
            models_of(owner), target, _folder_of(trainer, self._place), self.strategy
        )
        if self.strategy != "end":
            self._watch.start(resumed=trainer.ckpt_path is not None)

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._watch is not None:
            # In a run of ours the supervisor pushes the best weights, with a card, when all is known.
            self._watch.finish(self.wait_seconds, final=not (self._place / JOB).exists())
            self._watch = None

    @override
    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if self._watch is not None:
            self._watch.finish(0.0, final=False)
            self._watch = None


def _folder_of(trainer: L.Trainer, found: Path) -> Path:
    """Where checkpoints are saved: in a run, below its folder; else where the project's own are."""
    if (found / JOB).exists():
        return found / CHECKPOINTS
    return Path(getattr(trainer.checkpoint_callback, "dirpath", None) or found / CHECKPOINTS)
