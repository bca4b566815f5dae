"""Commit checkpoints a run can be started again from, and stop at a step when asked to."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.utilities.exceptions import SIGTERMException
from typing_extensions import override

from nimble_lightning.callbacks._batch_start import vote_alone, vote_with_others
from nimble_lightning.callbacks._output_folder import is_remote
from nimble_lightning.callbacks._under_retry import AtomicCheckpoints, UnderRetry
from nimble_lightning.checkpoint import prune
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.durations import in_seconds
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.failures import facts_of
from nimble_lightning.ops.lightning_packages import like, serves_both
from nimble_lightning.ops.signals import asked
from nimble_lightning.ranks import everyones, world_size
from nimble_lightning.run_folder import ERRORS, SAVE_NOW, STEPS

log = logging.getLogger(__name__)

_LOOK_EVERY_SECONDS = 1.0
# The newest may be the one that a dying disk took with it.
_LEAST = 2


class OutOfTime(SIGTERMException):
    """The time for this start of the run is over; everything is committed, and the same command continues."""


@serves_both
class AutoRetry(L.Callback):
    """Saves at step boundaries; whoever supervises the process starts it again from the newest whole save.

    Args:
        max_retries: How often in a row a run is started again that gets no further.
        save_every_n_steps: Commit a checkpoint after so many optimizer steps.
        save_every_minutes: And after so much time.
        save_every_epoch: And at the end of each epoch.
        hang_seconds: A step that takes longer is a hang; "auto" learns it from the steps; None: no hang.
        max_time_per_run: Time for one start of the command (90m, 2h, 00:12:00:00); then commit and stop.
        max_time: Time for all starts together.
        keep: How many commits stay: the newest so many, or "all"; "best": no more than a resume needs, the
            newest two, beside the best weights, which others keep.

    A file named `save_now` in the Trainer's `default_root_dir`, or SIGUSR1, asks for a save at the next step;
    SIGTERM for a save and an end. Hangs, `max_time` and starting again are the supervisor's part; without
    one, an error leaves `errors/rank-0.json` and the last commit.
    """

    def __init__(
        self,
        max_retries: int = 5,
        save_every_n_steps: int | None = None,
        save_every_minutes: float | None = 5.0,
        save_every_epoch: bool = True,
        hang_seconds: float | Literal["auto"] | None = "auto",
        max_time_per_run: float | str | None = None,
        max_time: float | str | None = None,
        keep: int | Literal["all", "best"] = "best",
    ) -> None:
        if isinstance(keep, int) and keep < _LEAST:
            raise RequestError(
                f"keep={keep}: the newest {_LEAST} commits always stay, in case one is damaged.\n"
                f"Type keep=best, which is those and the best, or a number of at least {_LEAST}"
            )
        if save_every_n_steps is not None and save_every_n_steps < 1:
            raise RequestError(
                f"save_every_n_steps={save_every_n_steps!r}: expected 1 or more, or null to save by time."
            )
        if max_time is not None:
            in_seconds(max_time, "max_time")
        self.max_retries = max_retries
        self.save_every_n_steps = save_every_n_steps
        self.save_every_minutes = save_every_minutes
        self.save_every_epoch = save_every_epoch
        self.hang_seconds = hang_seconds
        self.max_time = max_time
        self.keep = keep
        self.max_time_per_run = (
            None if max_time_per_run is None else in_seconds(max_time_per_run, "max_time_per_run")
        )
        self._saved_at, self._seen = 0, -1
        self._next_save = self._end = float("inf")
        self._next_look = 0.0
        self._voters: dist.ProcessGroup | None = None
        self._foreign: UnderRetry | None = None
        self._whole: AbstractContextManager[None] = contextlib.nullcontext()
        self._others: list[Path] = []
        # Why nothing can be committed.
        self._cannot_commit = ""
        self._poll: Callable[[], None] | None = None

    # --- when --------------------------------------------------------------------------------

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        self._cannot_commit = ""
        if is_remote(trainer.default_root_dir):
            self._give_up(f"default_root_dir={trainer.default_root_dir} is no folder of this machine")
        self._whole = AtomicCheckpoints(trainer)
        self._foreign = None if asked.supervised else UnderRetry.join(trainer, self._whole)
        if self.max_time_per_run is not None:
            self._end = time.monotonic() + self.max_time_per_run

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Later than Lightning's own handlers, one of which starts a collective.
        asked.listen()
        vote_alone(trainer)
        self._saved_at, self._seen = trainer.global_step, -1
        if not (asked.supervised or self._foreign or trainer.ckpt_path):
            # What an earlier run left in this folder is not ours to clear away.
            self._others = list(self._folder(trainer).glob("*.ckpt"))
        self._schedule()
        # Saves that go on in the background report here.
        self._poll = getattr(trainer.strategy.checkpoint_io, "poll", None)
        if world_size() > 1 and trainer.strategy.root_device.type != "cpu":
            # Agreeing through the device would make every step wait for it.
            self._voters = dist.new_group(backend="gloo")

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._seen:
            # Gradients are being accumulated, and no checkpoint holds those.
            return
        self._seen = step
        if self._poll is not None:
            self._look_after_saves(self._poll)
        late = time.monotonic() >= min(self._end, asked.until)
        save, stop = self._due(trainer, step, batch_idx), asked.stop
        if world_size() > 1:
            save, stop, late = self._anyone(save, stop, late)
        if (save or stop or late) and step > self._saved_at:
            self._commit(trainer, step)
        if stop:
            terminated = like(trainer, "utilities.exceptions.SIGTERMException")
            raise OutOfTime(asked.why) if asked.why else terminated(ExitCode.TERMINATED)
        if late:
            over = "max_time_per_run" if self._end <= asked.until else "max_time"
            raise OutOfTime(f"{over} of {in_seconds(getattr(self, over), over):g} s is over")

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step > self._saved_at:
            self._commit(trainer, trainer.global_step)
        self._listen_no_more(trainer)

    @override
    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._listen_no_more(trainer)
        if self._foreign is not None:
            self._foreign.note(exception)
            return
        if asked.supervised or isinstance(exception, SystemExit | KeyboardInterrupt) or trainer.fast_dev_run:
            return
        folder = Path(trainer.default_root_dir) / ERRORS
        facts = facts_of(exception, trainer.global_rank, trainer.global_step)
        # Raised here, an error would take the place of the user's.
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(facts, indent=2) + "\n"
            (folder / f"rank-{trainer.global_rank}.json").write_text(text, encoding="utf-8")

    def _due(self, trainer: L.Trainer, step: int, batch_idx: int) -> bool:
        if self.save_every_n_steps and step % self.save_every_n_steps == 0:
            return True
        if self.save_every_epoch and batch_idx == 0:
            return True
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_EVERY_SECONDS
            wanted = Path(trainer.default_root_dir) / SAVE_NOW
            if wanted.exists():
                wanted.unlink(missing_ok=True)
                return True
        return asked.save or now >= self._next_save

    # --- how --------------------------------------------------------------------------------

    def _commit(self, trainer: L.Trainer, step: int) -> None:
        if not trainer.fast_dev_run and not self._cannot_commit:
            folder = self._folder(trainer)
            if self._save(trainer, folder / f"step-{step:08d}.ckpt") and trainer.is_global_zero:
                self._clear_away(folder)
        self._saved_at, asked.save = step, False
        self._schedule()

    def _save(self, trainer: L.Trainer, path: Path) -> bool:
        why = ""
        try:
            with self._whole:
                trainer.save_checkpoint(path, weights_only=False)
        except FloatingPointError:
            # Weights that are spoilt are meant to end the training.
            raise
        except Exception as error:
            if isinstance(error, OSError):
                # Earlier commits are still there; a full disk is no reason to lose what is in memory.
                log.error("step %d could not be saved, training goes on: %s", trainer.global_step, error)
            elif asked.supervised:
                raise
            else:
                why = str(error) or type(error).__name__
            # Where the others, whose part went well, wait for us.
            trainer.strategy.barrier("Trainer.save_checkpoint")
            self._agree_to_give_up(why)
            return False
        self._agree_to_give_up(why)
        return not self._cannot_commit

    def _agree_to_give_up(self, why: str) -> None:
        """On all ranks, for none must save alone."""
        if not asked.supervised and (found := next(filter(None, everyones(why)), "")):
            self._give_up(found)

    def _give_up(self, why: str) -> None:
        self._cannot_commit = why
        log.error("nothing of this run is committed, so a retry begins anew; training goes on: %s", why)

    def _clear_away(self, folder: Path) -> None:
        if self.keep == "all":
            return
        try:
            prune(folder, keep=self.keep if isinstance(self.keep, int) else _LEAST, protect=self._others)
        except OSError as error:
            log.error("old checkpoints could not be deleted, training goes on: %s", error)

    def _look_after_saves(self, poll: Callable[[], None]) -> None:
        try:
            poll()
        except OSError as error:
            log.error("a checkpoint could not be saved, training goes on: %s", error)

    def _listen_no_more(self, trainer: L.Trainer) -> None:
        asked.release()
        vote_with_others(trainer)

    def _folder(self, trainer: L.Trainer) -> Path:
        return self._foreign.commits if self._foreign else Path(trainer.default_root_dir) / STEPS

    def _schedule(self) -> None:
        if self.save_every_minutes is not None:
            self._next_save = time.monotonic() + 60 * self.save_every_minutes

    def _anyone(self, *mine: bool) -> list[bool]:
        """Which of these at least one rank wants: one small message a step."""
        votes = torch.tensor(mine, dtype=torch.float32)
        dist.all_reduce(votes, group=self._voters)
        return [vote > 0 for vote in votes.tolist()]
