"""Every field of transformers' TrainingArguments: who acts on it, and the setting of ours it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, NamedTuple

from nimble_lightning.errors import RequestError

# Who acts on a field in an HFTrainer: our engine, the code of transformers, nobody needs to, or it is refused
Does = Literal["engine", "transformers", "always", "refused"]


class Field(NamedTuple):
    """One field.

    Attributes:
        does: Who acts on it in an HFTrainer.
        setting: What is typed for a NimbleTrainer; `{}` stands for the value. None: there is no such setting.
        note: What else there is to know.
    """

    does: Does
    setting: str | None
    note: str = ""


_E, _T, _A, _R = "engine", "transformers", "always", "refused"
_LOGGERS = "logger=[jsonl,tensorboard,wandb,mlflow,trackio,csv]"
_VALIDATION = "+lightning.check_val_every_n_epoch=null"

_ROWS: Mapping[str, tuple[str, str | None, str]] = {
    # Length and batches.
    "output_dir": (_T, "output_dir={}", ""),
    "num_train_epochs": (_E, "lightning.max_epochs={}", ""),
    "max_steps": (_E, "lightning.max_steps={}", ""),
    "per_device_train_batch_size": (_E, "data.batch_size={}", "of ours, the samples of an optimizer step"),
    "gradient_accumulation_steps": (_E, "data.micro_batch_size", "the batch size divided by it"),
    "auto_find_batch_size": (_A, "data.micro_batch_size=auto", "out of memory halves pieces, not the batch"),
    "average_tokens_across_devices": (_A, "", "labels are counted over all ranks; false is refused"),
    # Optimizer and schedule.
    "learning_rate": (_T, "optim.lr={}", ""),
    "optim": (_T, "optim", "adamw, adam, sgd, adafactor, lion, muon, or optim._target_=package.Class"),
    "optim_args": (_T, None, "of ours, optim.NAME"),
    "optim_target_modules": (_T, None, "of ours, configure_optimizers; layer-wise optimizers are refused"),
    "weight_decay": (_T, "optim.weight_decay={}", ""),
    "adam_beta1": (_T, "optim.betas", ""),
    "adam_beta2": (_T, "optim.betas", ""),
    "adam_epsilon": (_T, "optim.eps={}", ""),
    "max_grad_norm": (_E, "clip.norm={}", ""),
    "label_smoothing_factor": (_T, "model.label_smoothing={}", ""),
    "lr_scheduler_type": (_T, "schedule=hf schedule.name={}", ""),
    "lr_scheduler_kwargs": (_T, "schedule", "+schedule.NAME=VALUE"),
    "warmup_steps": (_T, "schedule.warmup={}", ""),
    # Precision, memory, kernels.
    "bf16": (_E, "lightning.precision=bf16-mixed", ""),
    "fp16": (_E, "lightning.precision=16-mixed", ""),
    "bf16_full_eval": (_T, None, ""),
    "fp16_full_eval": (_T, None, ""),
    "tf32": (_T, None, "of ours, torch.set_float32_matmul_precision in pre_process"),
    "activation_checkpointing": (_T, "model.gradient_checkpointing=true", ""),
    "activation_checkpointing_kwargs": (_T, None, ""),
    "gradient_checkpointing": (_T, "model.gradient_checkpointing=true", ""),
    "gradient_checkpointing_kwargs": (_T, None, ""),
    "torch_compile": (_T, "model.compile=true", ""),
    "torch_compile_backend": (_T, "model.compile={backend:{}}", ""),
    "torch_compile_mode": (_T, "model.compile={mode:{}}", ""),
    "use_liger_kernel": (_T, None, "of ours, apply_liger_kernel in pre_process"),
    "liger_kernel_config": (_T, None, ""),
    "use_cache": (_T, None, ""),
    "neftune_noise_alpha": (_T, None, "of ours, transformers.integrations.neftune in pre_process"),
    "torch_empty_cache_steps": (_R, None, "memory that runs out halves pieces instead"),
    # Logs.
    "logging_strategy": (_T, "log.every_n_steps", ""),
    "logging_steps": (_T, "log.every_n_steps={}", ""),
    "logging_first_step": (_T, None, ""),
    "logging_nan_inf_filter": (_E, "callbacks.non_finite", "of ours: stop, skip or rollback"),
    "log_level": (_T, "log.level={}", ""),
    "log_level_replica": (_T, "log.replica_level={}", ""),
    "log_on_each_node": (_T, "log.per_node={}", ""),
    "disable_tqdm": (_T, "callbacks.progress=null", ""),
    "report_to": (_T, "logger", _LOGGERS),
    "run_name": (_T, "run_id={}", ""),
    "project": (_T, "name={}", ""),
    "trackio_space_id": (_T, "logger.trackio", ""),
    "trackio_bucket_id": (_T, "logger.trackio", ""),
    "trackio_static_space_id": (_T, "logger.trackio", ""),
    "include_num_input_tokens_seen": (_T, "callbacks.usage_report=true", ""),
    # Evaluation.
    "eval_strategy": (_T, "lightning.val_check_interval", "of ours, each epoch"),
    "eval_steps": (_T, f"+lightning.val_check_interval={{}} {_VALIDATION}", "of ours, counted in batches"),
    "eval_delay": (_T, "evaluation.after_steps={}", "of ours, in steps"),
    "eval_on_start": (_T, "evaluation.on_start=true", ""),
    "per_device_eval_batch_size": (_T, "data.eval_batch_size={}", ""),
    "prediction_loss_only": (_T, "", "of ours, leave compute_metrics out"),
    "eval_accumulation_steps": (_T, "", "of ours, predictions leave the device with every batch"),
    "eval_do_concat_batches": (_T, None, ""),
    "eval_use_gather_object": (_T, None, ""),
    "include_for_metrics": (_T, None, "of ours, evaluate sees the batch"),
    "batch_eval_metrics": (_T, "", "of ours, torchmetrics in evaluate"),
    "label_names": (_T, None, "of ours, every column with label in its name"),
    # The best, and checkpoints.
    "load_best_model_at_end": (_T, "", "of ours, always"),
    "metric_for_best_model": (_T, "monitor={}", "without eval_; eval_loss is val_loss"),
    "greater_is_better": (_T, "mode", "max or min"),
    "save_strategy": (_T, "callbacks.auto_retry.save_every_epoch", ""),
    "save_steps": (_T, "callbacks.auto_retry.save_every_n_steps={}", ""),
    "save_total_limit": (_T, "checkpoints.keep={}", "of ours, the best besides; at least two"),
    "save_only_model": (_T, None, ""),
    "save_on_each_node": (_T, None, ""),
    "enable_jit_checkpoint": (_R, "", "nimble-cli retry commits when it is stopped"),
    # The Hub.
    "push_to_hub": (_T, "callbacks=[default,hub_push]", ""),
    "hub_model_id": (_T, "callbacks.hub_push.repo={}", ""),
    "hub_strategy": (_T, "callbacks.hub_push.strategy={}", ""),
    "hub_private_repo": (_T, "callbacks.hub_push.private={}", ""),
    "hub_token": (_T, None, "of ours, HF_TOKEN in the environment"),
    "hub_always_push": (_T, None, ""),
    "hub_revision": (_T, None, ""),
    # Going on, and chance.
    "resume_from_checkpoint": (_T, "resume={}", "what train() is given; nobody reads the field"),
    "ignore_data_skip": (_R, None, "data that was trained on is not read again in any case"),
    "restore_callback_states_from_checkpoint": (_T, "", "of ours, always"),
    "seed": (_T, "seed={}", ""),
    "data_seed": (_T, "data.seed={}", ""),
    "full_determinism": (_T, "+lightning.deterministic=true", ""),
    # Devices.
    "use_cpu": (_T, "lightning.accelerator=cpu", ""),
    "local_rank": (_T, "", "torchrun decides"),
    "accelerator_config": (_T, None, "use_seedable_sampler holds; ranks share batches exactly in any case"),
    "parallelism_config": (_R, "strategy=model_parallel", ""),
    "fsdp": (_R, "strategy=fsdp", ""),
    "fsdp_config": (_R, "strategy", ""),
    "deepspeed": (_R, "strategy=deepspeed_2", ""),
    "ddp_find_unused_parameters": (_E, "strategy=ddp_find_unused", ""),
    "ddp_bucket_cap_mb": (_E, "+lightning.strategy.bucket_cap_mb={}", ""),
    "ddp_broadcast_buffers": (_E, "+lightning.strategy.broadcast_buffers={}", ""),
    "ddp_static_graph": (_E, "strategy=ddp_static", ""),
    "ddp_backend": (_T, "+lightning.strategy.process_group_backend={}", ""),
    "ddp_timeout": (_T, "+lightning.strategy.timeout", ""),
    # Data.
    "dataloader_drop_last": (_T, "data.drop_last={}", ""),
    "dataloader_num_workers": (_T, "data.num_workers={}", ""),
    "dataloader_pin_memory": (_T, "data.pin_memory={}", ""),
    "dataloader_persistent_workers": (_A, "", "workers live on from epoch to epoch"),
    "dataloader_prefetch_factor": (_T, None, "of ours, a DataLoader of one's own"),
    "dataloader_multiprocessing_context": (_T, None, "of ours, a DataLoader of one's own"),
    "dataloader_in_order": (_R, "", "batches come in order, or a resume could not find its place"),
    "remove_unused_columns": (_T, "data.remove_unused_columns={}", ""),
    "train_sampling_strategy": (_T, "data.group_by_length=true", "batch_rebalance is refused"),
    "length_column_name": (_T, "", "of ours, a column called length"),
    # What a script asks for.
    "debug": (_T, "callbacks.non_finite", ""),
    "skip_memory_metrics": (_T, "callbacks.usage_report=true", ""),
    "do_train": (_T, None, "for the script to read"),
    "do_eval": (_T, None, "for the script to read"),
    "do_predict": (_T, None, "for the script to read"),
}  # fmt: skip

FIELDS: Mapping[str, Field] = {name: Field(*row) for name, row in _ROWS.items()}  # type: ignore[arg-type]

# Values that are refused of fields that are not.
_REFUSED_VALUES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "average_tokens_across_devices": (("False",), "labels are counted over all ranks; leave it at True"),
    "train_sampling_strategy": (("batch_rebalance",), "its batches are of one rank; use group_by_length"),
    "optim": (
        ("galore_adamw_layerwise", "galore_adamw_8bit_layerwise", "galore_adafactor_layerwise"),
        "its steps are within the backward pass; use it without _layerwise",
    ),
}  # fmt: skip
_WITHIN_BACKWARD = ("lomo", "adalomo", "apollo_adamw_layerwise")


def refuse_unknown(args: Any) -> None:
    """Refuse by name what an HFTrainer would not do.

    Raises:
        RequestError: It names the field, and what to do instead.
    """
    for field in fields(args):
        value = getattr(args, field.name)
        known = FIELDS.get(field.name)
        if not _differs(field, value):
            continue
        if known is None:
            if type(args).__module__.startswith("transformers.training_args"):
                raise RequestError(
                    f"{field.name}={value!r}: HFTrainer does not know this field; leave it out."
                )
            continue
        values, why = _REFUSED_VALUES.get(field.name, ((), ""))
        if known.does == "refused" or str(getattr(value, "value", value)) in values:
            instead = f"; for a NimbleTrainer: {known.setting}" if known.setting else ""
            raise RequestError(
                f"{field.name}={value!r}: {why or known.note or 'not done by HFTrainer'}{instead}."
            )
    optim = str(getattr(args.optim, "value", args.optim))
    if optim in _WITHIN_BACKWARD:
        raise RequestError(f"optim={optim!r}: its steps are within the backward pass; choose another.")
    if args.n_gpu > 1:
        raise RequestError(
            f"One process sees {args.n_gpu} GPUs, and transformers would copy the model in every step.\n"
            f"Start torchrun --nproc-per-node={args.n_gpu} SCRIPT, or set CUDA_VISIBLE_DEVICES=0"
        )


def _differs(field: Any, value: Any) -> bool:
    usual = field.default if field.default is not MISSING else field.default_factory()
    return bool(value != usual) and not (field.name == "fsdp" and not value)
