"""What one worker does: prepare, fit, evaluate the best weights, show."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging

from nimble_lightning.adapters import NimbleData, NimbleModule, UserTrainer
from nimble_lightning.adapters.evaluation import figures, without_loggers
from nimble_lightning.adapters.model_settings import compile_cache
from nimble_lightning.adapters.stop_iteration import watch_steps
from nimble_lightning.callbacks._batch_start import end_again
from nimble_lightning.checkpoint.full_weights import weights_of
from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.ops.run_files import read_json, write_json
from nimble_lightning.ranks import everyones
from nimble_lightning.runs.completion import usage_account
from nimble_lightning.runs.finished_flag import FinishedFlag
from nimble_lightning.runs.heartbeat import Heart
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.request.setting_effects import Trained, unheard
from nimble_lightning.runs.secret_references import mask_hyper_parameters
from nimble_lightning.worker import custom_loop, provenance, show
from nimble_lightning.worker.best_step import Judged, chosen_at_end, stopped_early
from nimble_lightning.worker.export_best import AtEnd, owner_of, owner_of_returned
from nimble_lightning.worker.heartbeat_callback import HeartbeatCallback
from nimble_lightning.worker.lightning_objects import (
    Parts,
    build_parts,
    build_trainer,
    data_of,
    refuse_late_average,
)
from nimble_lightning.worker.search_trial import Pruning, trial_of
from nimble_lightning.worker.seeds import Seeding, seed_all
from nimble_lightning.worker.show import gather
from nimble_lightning.worker.throughput import Meter
from nimble_lightning.worker.validation import Judge

log = logging.getLogger(__name__)


class Training:
    """One attempt at a job, on one rank.

    Args:
        job: What was asked.
        attempt: Which start of the run this is, from 1.
        rank: Of this process among all.
        local_rank: Of this process on its machine.
        resume_from: The checkpoint to continue from, or None.
        heart: Where to give signs of life, when somebody looks.
    """

    def __init__(
        self,
        job: Job,
        attempt: int = 1,
        rank: int = 0,
        local_rank: int = 0,
        resume_from: str | None = None,
        heart: Heart | None = None,
    ) -> None:
        self.job = job
        self.attempt = attempt
        self.rank = rank
        self.local_rank = local_rank
        self.resume_from = resume_from
        self.heart = heart
        self.settings = job.settings
        self.trainer: L.Trainer | None = None
        self._pulse = [] if heart is None else [HeartbeatCallback(heart)]
        self._judge = Judge(job, heart)

    def run(self, target: Any = None) -> None:
        """Train to the end, then leave the finished flag; it is the only sign that a run is done.

        Args:
            target: A trainer to use instead of the one the job names.
        """
        seed_all(self.settings.seed)
        if self.settings.model.compile:
            os.environ.update(compile_cache(Path.home() / ".cache" / "nimble_lightning" / "compiled"))
        context = {"run_folder": str(self.job.folder.path), "resume_from": self.resume_from}
        parts = build_parts(self.settings, context, target)
        self._refuse_without_effect(parts)
        exporting = AtEnd(self.job, self.rank, self.heart)
        self._trial = trial_of(self.settings.trial)
        if parts.user is not None:
            if self._trial is not None:
                parts.user.object.trial = self._trial
            self._prepare_in_turn(parts)
            exporting.see(parts.user.object)
            if parts.user.trains_by_itself:
                self._judge.begin(parts.user)
                with usage_account.of_whole_run(self.job, self.attempt, self.rank):
                    returned = custom_loop.train(parts.user, self.job.folder)
                    if not isinstance(returned, L.LightningModule):
                        self._complete_whole_run(parts.user, returned, exporting)
                        return
                parts.module, parts.data = returned, self._data_for(returned, parts.user)
        exporting.see(owner_of(parts))
        self._judge.begin(parts.user, parts)
        try:
            flag = self._fit(parts)
            if parts.user is not None and parts.user.trains_by_itself:
                flag = replace(flag, metrics={**flag.metrics, **custom_loop.evaluated(parts.user)})
            exporting.export(owner_of(parts), flag.best_checkpoint, flag.global_step)
            self._finish(flag, parts.user)
        except BaseException as error:
            if self.trainer is not None:
                error.nimble_step = self.trainer.global_step  # type: ignore[attr-defined]
            raise
        if parts.user is not None:
            self._show(parts.user, parts.module)

    def _complete_whole_run(self, user: UserTrainer, returned: Any, exporting: AtEnd) -> None:
        custom_loop.say_unheard(user, returned, unheard(self.settings.asked or (), self.job.resolved()))
        provenance.of_whole_run(self.job, self.attempt, user, self.rank)
        metrics = custom_loop.complete(user, returned, self.job.folder, self.rank)
        custom_loop.refuse_spoilt(metrics, self.settings.callbacks)
        exporting.export(owner_of_returned(user.object, returned), None, None)
        objective = chosen_at_end(metrics, self.settings.monitor, self.settings.mode)
        best = None if objective is None else {**objective.to_json(), "step": None}
        self._finish(FinishedFlag(metrics, self.attempt, best), user)
        self._show(user, returned if isinstance(returned, torch.nn.Module) else None)

    def _show(self, user: UserTrainer, module: torch.nn.Module | None) -> None:
        """The run is finished by now, whatever comes of this."""
        whole = module is None or user.method("predict_and_show") is None or gather(module)
        if self.rank == 0 and not whole:
            left_out = "predict_and_show was left out: no single process can use a model that is cut up"
            log.warning(left_out)
            write_json(self.job.folder.show_index, [{"caption": "", "error": left_out}])
        elif self.rank == 0:
            most = self.settings.show.keep
            loggers, step = (self.trainer.loggers, self.trainer.global_step) if self.trainer else ([], 0)
            show.show(user, module, self.job.folder, most=most, loggers=loggers, step=step)

    def _prepare_in_turn(self, parts: Parts) -> None:
        """Call `pre_process` on one process per node first.

        The others find its downloads and caches, and no collective waits meanwhile.
        """
        user = parts.user
        flag = self.job.folder.prepared(self.attempt, self.rank - self.local_rank)
        while self.local_rank > 0 and not flag.exists():
            time.sleep(0.05)
        if user is not None:
            user.prepare()
        if self.local_rank == 0:
            flag.touch()

    def _fit(self, parts: Parts) -> FinishedFlag:
        """Train, and evaluate the best weights; what it came to, but for the verdict."""
        meter = Meter(self.job, self.attempt)
        seeding = Seeding(self.settings.seed)
        judged = Judged(self.settings.monitor, self.settings.mode)
        extra: list[L.Callback] = [seeding, meter, judged, *self._pulse, *self._judge.watching]
        extra += provenance.callbacks(self.job, self.attempt)
        if self.settings.trial is not None and self.settings.trial.prunes:
            extra.append(Pruning(self._trial, self.settings.trial.prunes))
        trainer = self.trainer = build_trainer(self.settings, self.job.folder, extra, self.attempt)
        refuse_late_average(trainer, ours=isinstance(parts.module, NimbleModule))
        mask_hyper_parameters(parts.module, parts.data)
        watch_steps(trainer, parts.module)
        if not isinstance(parts.module, NimbleModule):
            log_by_optimizer_steps(trainer)
        attempts = read_json(self.job.folder.run).get("attempts", [])
        end_again(trainer, [a.get("last_step") for a in attempts if a.get("cause") == Cause.FINISHED])
        trainer.fit(parts.module, datamodule=parts.data, ckpt_path=self.resume_from, weights_only=True)
        metrics: dict[str, float] = {"global_step": trainer.global_step, **meter.rates(trainer)}
        if isinstance(parts.module, NimbleModule):
            metrics["train_loss"] = parts.module.running.mean_loss
        elif (loss := meter.train_loss(trainer)) is not None:
            metrics["train_loss"] = loss
        best = str(getattr(trainer.checkpoint_callback, "best_model_path", "") or "") or None
        stopped = stopped_early(trainer)
        with as_saved(trainer):
            metrics.update(evaluate_best(trainer, parts, best))
        return FinishedFlag(
            metrics,
            self.attempt,
            judged.facts(trainer, parts.module, metrics),
            best,
            stopped,
            epochs=trainer.current_epoch,
            mid_epoch=not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch,
        )

    def _finish(self, flag: FinishedFlag, user: UserTrainer | None) -> None:
        numbers = {k: float(v) if not isinstance(v, int) else v for k, v in flag.metrics.items()}
        verdict = self._judge.verdict(self.trainer, numbers)
        everyones(None)
        if self.rank == 0:
            if user is not None and user.method("predict_and_show") is not None:
                show.begin(self.job.folder)
            replace(flag, metrics=numbers, verdict=verdict).write(self.job.folder)

    def _refuse_without_effect(self, parts: Parts) -> None:
        """What a file alone does not tell, the objects do."""
        trained = Trained(type(parts.module).__name__, "module")
        if parts.user is not None:
            own = parts.user.method("configure_optimizers") is not None
            trained = Trained(parts.user.name, "whole" if parts.user.trains_by_itself else "steps", own)
        trained.refuse(self.settings.asked or (), self.job.resolved())

    def _data_for(self, returned: L.LightningModule, user: UserTrainer) -> L.LightningDataModule | None:
        data = data_of(user, self.settings)
        if not isinstance(data, NimbleData):
            self._refuse_without_effect(Parts(returned, data))
        return data


def log_by_optimizer_steps(trainer: L.Trainer) -> None:
    """The number of optimizer steps, which Lightning's checkpoints, `max_steps` and we count.

    A batch may have several of them; Lightning's loggers would count batches.
    """
    connector: Any = trainer._logger_connector
    write, loop = connector.log_metrics, trainer.fit_loop.epoch_loop

    def log_metrics(*args: Any, **kwargs: Any) -> None:
        batches, loop._batches_that_stepped = loop._batches_that_stepped, trainer.global_step
        try:
            write(*args, **kwargs)
        finally:
            loop._batches_that_stepped = batches

    connector.log_metrics = log_metrics


@contextmanager
def as_saved(trainer: L.Trainer) -> Iterator[None]:
    """While the block runs, weights that are loaded are those that were judged and saved as the model's.

    Callbacks that average weights keep those from before the average beside them, and put them back.
    """
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    others = [each for each in callbacks if not isinstance(each, WeightAveraging)]
    trainer.callbacks = others  # type: ignore[attr-defined]
    try:
        with warnings.catch_warnings():
            # There is one less than when it was saved.
            warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
            yield
    finally:
        trainer.callbacks = callbacks  # type: ignore[attr-defined]


def evaluate_best(trainer: L.Trainer, parts: Parts, best: str | None) -> dict[str, float]:
    """Final figures come from the best weights, which stay loaded for `predict_and_show`."""
    metrics: dict[str, float] = {}
    data = parts.data
    ours = isinstance(data, NimbleData)
    if data.has_eval_data if isinstance(data, NimbleData) else bool(trainer.val_dataloaders):
        # The curve has these figures already, at the step that the weights are from.
        with without_loggers(trainer):
            rows = trainer.validate(
                parts.module, datamodule=data, ckpt_path=best, weights_only=True, verbose=False
            )
        metrics.update(figures(trainer, rows))
        best = None
    has_test = (
        data.has_test_data if isinstance(data, NimbleData) else parts.define("test_step", "test_dataloader")
    )
    if has_test:
        rows = trainer.test(parts.module, datamodule=data, ckpt_path=best, weights_only=True, verbose=False)
        metrics.update(figures(trainer, rows))
    if not metrics and best is not None and ours:
        parts.module.load_state_dict(weights_of(best))
    return metrics
