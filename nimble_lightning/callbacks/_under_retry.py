"""A script under `nimble-cli retry`: its own call of `fit`, unchanged, goes on where it ended."""

from __future__ import annotations

import itertools
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L

from nimble_lightning.callbacks.exact_resume import ExactResume
from nimble_lightning.checkpoint import NimbleCheckpointIO, newest_whole, sweep
from nimble_lightning.checkpoint.sharded_strategies import Shards
from nimble_lightning.ops.failures import facts_of
from nimble_lightning.ops.lightning_packages import either
from nimble_lightning.ops.process_environment import NOTES, RUN
from nimble_lightning.run_folder import CHECKPOINTS

# A script may call `fit` several times; started again it does so in the same order.
_fits = itertools.count(1)


class UnderRetry:
    """One `fit` of a script that is started again when it dies.

    Attributes:
        commits: Where its checkpoints go: a folder for this run and this `fit` alone, so that nothing
            of an earlier run is mistaken for its own.
    """

    def __init__(self, trainer: L.Trainer, whole: AtomicCheckpoints) -> None:
        name = f"{os.environ[RUN]}.{next(_fits)}"
        self.commits = Path(trainer.default_root_dir).absolute() / CHECKPOINTS / name
        self._trainer = trainer
        self._notes = Path(os.environ[NOTES])
        self._whole = whole
        if trainer.is_global_zero:
            (self._notes / f"{name}.json").write_text(
                json.dumps({"commits": str(self.commits)}), encoding="utf-8"
            )

    @classmethod
    def join(cls, trainer: L.Trainer, whole: AtomicCheckpoints) -> UnderRetry | None:
        """Take part in `fit` from its `setup`; None where nobody starts the script again."""
        if RUN not in os.environ or trainer.fast_dev_run:
            return None
        foreign = cls(trainer, whole)
        if not any(isinstance(callback, ExactResume) for callback in trainer.callbacks):
            # Lightning comes to it next: it goes through this list while it grows.
            trainer.callbacks.append(ExactResume())
        # The first rank clears away and chooses, for one must not do it while another looks.
        chosen = foreign._newest() if trainer.is_global_zero else None
        if (path := trainer.strategy.broadcast(chosen)) is not None:
            foreign._continue_from(Path(path))
        return foreign

    def note(self, exception: BaseException) -> None:
        """Tell the command what happened; it sees no more than an exit code."""
        trainer = self._trainer
        facts = facts_of(exception, trainer.global_rank, trainer.global_step)
        path = self._notes / f"error.rank-{trainer.global_rank}.json"
        # Raised here, an error would take the place of the one that is to be told.
        with suppress(OSError):
            path.write_text(json.dumps(facts), encoding="utf-8")

    def _newest(self) -> str | None:
        sweep(self.commits)
        found = newest_whole(self.commits)
        return None if found is None else str(found.path)

    def _continue_from(self, path: Path) -> None:
        """After `setup` Lightning has its connector load what `fit` was given: for once it loads this."""
        connector: Any = self._trainer._checkpoint_connector
        load = connector.resume_start

        def resume_start(checkpoint_path: Any = None, weights_only: bool | None = None) -> None:
            del connector.resume_start
            with self._whole:
                load(path, weights_only=True)

        connector.resume_start = resume_start


class AtomicCheckpoints:
    """While it is entered the trainer saves and loads as we do; what a project saves stays Lightning's.

    A checkpoint plugin that was chosen on purpose stays in any case.
    """

    def __init__(self, trainer: L.Trainer) -> None:
        self._strategy = trainer.strategy
        self._io = NimbleCheckpointIO()
        self._theirs: Any = None
        self._shards = Shards.of(trainer.strategy)

    def __enter__(self) -> None:
        self._theirs = self._strategy.checkpoint_io
        if type(self._theirs) in either("plugins.io.TorchCheckpointIO"):
            self._strategy.checkpoint_io = self._io
        if self._shards is not None:
            self._shards.stand_before()

    def __exit__(self, *_: object) -> None:
        self._strategy.checkpoint_io = self._theirs
        if self._shards is not None:
            self._shards.step_aside()
