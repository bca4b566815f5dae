"""`nl.HFTrainer`: transformers' Trainer, whose loop is ours."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import TrainOutput
from typing_extensions import override

from nimble_lightning.adapters import NimbleData, NimbleModule, UserTrainer
from nimble_lightning.adapters.fast_paths import ThinProfiler
from nimble_lightning.api.hf.checkpoint_folders import FolderIO, save_folder
from nimble_lightning.api.hf.hf_events import Callbacks, HFEvents, Plan
from nimble_lightning.api.hf.hf_steps import HFSteps, loader_of
from nimble_lightning.api.hf.training_arguments import refuse_unknown
from nimble_lightning.callbacks import ExactResume
from nimble_lightning.settings import Clip, LogSettings, RunSettings

# Our own log of every few steps is not read here: transformers keeps its own.
_NEVER = 10**9


class HFTrainer(Trainer):
    """The Trainer of transformers: its arguments, methods and files, trained by our engine.

    Steps are exact however batches are cut and shared out, a checkpoint is whole or absent, and a run that is
    killed goes on with the same bits under `nimble-cli retry`. What it cannot do is refused by name.

    Args:
        *args: Those of `transformers.Trainer`.
        **kwargs: Those of `transformers.Trainer`; among `callbacks` may be Lightning's, such as `GPUInfo()`.

    Example::

        from nimble_lightning import HFTrainer as Trainer
    """

    def __init__(self, *args: Any, callbacks: list[Any] | None = None, **kwargs: Any) -> None:
        given = callbacks or []
        self.lightning_callbacks = [callback for callback in given if isinstance(callback, L.Callback)]
        theirs = [callback for callback in given if not isinstance(callback, L.Callback)]
        kwargs["callbacks"] = theirs
        super().__init__(*args, **kwargs)
        refuse_unknown(self.args)
        self.callback_handler.__class__ = Callbacks
        self._fit: L.Trainer | None = None
        self._flops_of_input: int | None = None

    # --- the loop ---------------------------------------------------------------------------------------

    @override
    def _inner_training_loop(
        self: Any,
        batch_size: int | None = None,
        args: TrainingArguments | None = None,
        resume_from_checkpoint: str | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        args = self.args if args is None else args
        self.accelerator.free_memory()
        loader = loader_of(self.get_train_dataloader(), self)
        epochs, steps_per_epoch, _, samples, _, batches, max_steps = self.set_initial_training_values(
            args, loader
        )
        self._init_training_state(max_steps, steps_per_epoch, epochs, resume_from_checkpoint, trial)
        self._make_optimizer(max_steps, loader)
        # Autocast and compilation; ranks are looked after by the engine.
        self.model_wrapped = self.accelerator.prepare_model(self.model, evaluation_mode=True)
        plan = Plan(epochs, max_steps, batches, time.time(), trial, ignore_keys_for_eval)
        self._begin_logs()
        self._train_by(plan, HFSteps(self, loader), resume_from_checkpoint)
        output: TrainOutput = self._finalize_training(trial, samples, plan.started)
        return output

    @override
    def training_step(self: Any, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """The loss of a batch, with its graph: the engine goes backward when it knows the loss's weight.

        A method that overrides it may call this one, or compute a loss and call `self.accelerator.backward`.
        """
        if not model.training:
            model.train()
        if callable(train := getattr(self.optimizer, "train", None)):
            train()
        self.current_gradient_accumulation_steps = 1
        with self.compute_loss_context_manager():
            return self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)

    def _make_optimizer(self: Any, max_steps: int, loader: Any) -> None:
        # Other arguments may hold at a second call.
        if self._created_lr_scheduler:
            self.lr_scheduler, self._created_lr_scheduler = None, False
        self.create_optimizer_and_scheduler(num_training_steps=max_steps)
        handler = self.callback_handler
        handler.model, handler.optimizer, handler.lr_scheduler = self.model, self.optimizer, self.lr_scheduler
        handler.train_dataloader = loader

    def _begin_logs(self: Any) -> None:
        self._initial_num_input_tokens_seen = self.state.num_input_tokens_seen
        self._initial_global_step = self._globalstep_last_logged = self.state.global_step
        self._tr_loss = torch.tensor(0.0, device=self.args.device)
        self._total_loss_scalar = 0.0

    def _train_by(self: Any, plan: Plan, steps: HFSteps, resume_from: str | None) -> None:
        args = self.args
        clip = Clip(norm=args.max_grad_norm or None)
        settings = RunSettings(seed=args.seed, clip=clip, log=LogSettings(grad_norm=True))
        user = UserTrainer(steps, {})
        events = HFEvents(self, steps, plan)
        with _only_warnings():
            self._fit = trainer = self._lightning_trainer(plan, events)
        try:
            with _only_warnings():
                trainer.fit(
                    NimbleModule(user, settings),
                    datamodule=NimbleData(user, settings),
                    ckpt_path=resume_from,
                    weights_only=True,
                )
        except SystemExit:
            # Lightning ends the process; a script for transformers may catch the interrupt and go on.
            if not events.interrupted:
                raise
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
        finally:
            self._fit = None
            if self.place_model_on_device:
                self._move_model_to_device(self.model, args.device)

    def _lightning_trainer(self: Any, plan: Plan, events: HFEvents) -> L.Trainer:
        args, on_cpu = self.args, self.args.device.type == "cpu"
        ranks = args.world_size
        return L.Trainer(
            accelerator="cpu" if on_cpu else args.device.type.replace("cuda", "gpu"),
            devices=ranks if ranks > 1 else 1 if on_cpu else [args.device.index or 0],
            strategy=self._strategy() if ranks > 1 else "auto",
            # For bf16 accelerate has wrapped the model; the scaler of fp16 goes with the optimizer's step.
            precision="16-mixed" if args.fp16 else "32-true",
            max_epochs=plan.epochs if plan.epochs < _NEVER else -1,
            max_steps=plan.max_steps,
            accumulate_grad_batches=args.gradient_accumulation_steps,
            default_root_dir=args.output_dir,
            callbacks=[events, ExactResume(), *self.lightning_callbacks],
            plugins=[FolderIO(self)],
            logger=False,
            profiler=ThinProfiler(),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            log_every_n_steps=_NEVER,
            num_sanity_val_steps=0,
        )

    def _strategy(self: Any) -> DDPStrategy:
        args = self.args
        given: dict[str, Any] = {
            "find_unused_parameters": args.ddp_find_unused_parameters,
            "bucket_cap_mb": args.ddp_bucket_cap_mb,
            "broadcast_buffers": args.ddp_broadcast_buffers,
            "static_graph": args.ddp_static_graph,
        }
        return DDPStrategy(**{name: value for name, value in given.items() if value is not None})

    # --- what it counts and keeps -----------------------------------------------------------------------

    def _count_work(self: Any, inputs: Any) -> None:
        """As transformers does, without counting the parameters anew for every batch."""
        name = getattr(self.model, "main_input_name", "input_ids")
        if type(self).floating_point_ops is not Trainer.floating_point_ops:
            self.current_flos += float(self.floating_point_ops(inputs))
        elif name in inputs and hasattr(self.model, "num_parameters"):
            if self._flops_of_input is None:
                self._flops_of_input = 6 * self.model.num_parameters(exclude_embeddings=True)
            self.current_flos += float(self._flops_of_input * inputs[name].numel())
        if self.args.include_num_input_tokens_seen != "no":
            self._track_num_input_tokens(inputs)

    @override
    def _save_checkpoint(self: Any, model: Any, trial: Any) -> None:
        save_folder(self, Path(self._get_output_dir(trial=trial)), trial, self._fit)


@contextmanager
def _only_warnings() -> Iterator[None]:
    """Lightning says which devices there are, and when a fit ends: here transformers says such things."""
    told = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    before = told.level
    told.setLevel(logging.WARNING)
    try:
        yield
    finally:
        told.setLevel(before)
