"""TrainingArguments of transformers, from a dict of its fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from nimble_lightning.api.hf.training_arguments import FIELDS
from nimble_lightning.commands.convert.conversion import Conversion

# Defaults that are more than nothing; those of all other fields are None, false, zero or empty.
DEFAULTS: Mapping[str, Any] = {
    "per_device_train_batch_size": 8,
    "num_train_epochs": 3.0,
    "max_steps": -1,
    "learning_rate": 5e-5,
    "lr_scheduler_type": "linear",
    "optim": "adamw_torch_fused",
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "gradient_accumulation_steps": 1,
    "average_tokens_across_devices": True,
    "max_grad_norm": 1.0,
    "logging_strategy": "steps",
    "logging_steps": 500,
    "log_on_each_node": True,
    "logging_nan_inf_filter": True,
    "include_num_input_tokens_seen": "no",
    "log_level": "passive",
    "log_level_replica": "warning",
    "report_to": "none",
    "project": "huggingface",
    "eval_strategy": "no",
    "per_device_eval_batch_size": 8,
    "eval_do_concat_batches": True,
    "save_strategy": "steps",
    "save_steps": 500,
    "hub_strategy": "every_save",
    "seed": 42,
    "dataloader_pin_memory": True,
    "dataloader_in_order": True,
    "remove_unused_columns": True,
    "train_sampling_strategy": "random",
    "length_column_name": "length",
    "ddp_timeout": 1800,
    "skip_memory_metrics": True,
    "local_rank": -1,
}
# Fields of before, by the names they have now.
RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
}
# Fields, most of them of before, that decide no figure of a run; tokens are not for a command line.
_WITHOUT_EFFECT = (
    "dispatch_batches", "do_eval", "do_predict", "do_train", "fp16_backend", "fp16_opt_level",
    "fsdp_min_num_params", "fsdp_transformer_layer_cls_to_wrap", "half_precision_backend", "hub_token",
    "include_inputs_for_metrics", "include_tokens_per_second", "jit_mode_eval", "local_rank", "logging_dir",
    "mp_parameters", "overwrite_output_dir", "past_index", "push_to_hub_model_id",
    "push_to_hub_organization", "push_to_hub_token", "ray_scope", "save_safetensors", "split_batches",
    "torchdynamo", "tp_size", "tpu_metrics_debug", "tpu_num_cores", "use_ipex",
    "use_legacy_prediction_loop", "use_mps_device",
)  # fmt: skip
_HERE_BEFORE = ("warmup_ratio", "group_by_length")
# What no key says.
_OURS = {
    "learning_rate": "self.lr, or 1e-3",
    "num_train_epochs": "10",
    "eval_strategy": "each epoch, where there is data for it",
}
_LOGGERS = ("tensorboard", "wandb", "mlflow", "trackio")
_NAME = re.compile(r"[\w][\w.-]*")


def convert_arguments(
    given: Mapping[str, Any], into: Conversion, usual: Mapping[str, Any] | None = None
) -> None:
    """Type what the fields ask for.

    Args:
        given: The fields that are there.
        into: The command line so far.
        usual: Defaults of a program that has others than transformers.
    """
    fields = {RENAMED.get(name, name): value for name, value in given.items()}
    defaults = {**DEFAULTS, **(usual or {})}
    asked = _Asked({**defaults, **fields}, defaults, into)
    for convert in _TOGETHER:
        convert(asked)
    for name, value in fields.items():
        if name in asked.done or name in _WITHOUT_EFFECT or name[:1] == "_":
            continue
        if name not in FIELDS:
            into.leave_out_unknown(name, value, (*FIELDS, *_HERE_BEFORE))
        elif not asked.is_default(name):
            _convert_alone(name, value, into)


class _Asked:
    """Fields with their defaults, of which those that were read need not be looked at again."""

    def __init__(self, values: Mapping[str, Any], defaults: Mapping[str, Any], into: Conversion) -> None:
        self.values = values
        self.defaults = defaults
        self.into = into
        self.done: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.done.add(name)
        return self.values.get(name)

    def is_default(self, name: str) -> bool:
        """Whether it is as transformers would have it; a dump holds all fields."""
        value = self.values.get(name)
        if name == "accelerator_config" and isinstance(value, Mapping):
            return all(on in (None, False) or key in _USUAL_OF_ACCELERATE for key, on in value.items())
        usual = self.defaults.get(name)
        return bool(value == usual or not value and (not usual or isinstance(usual, str)))

    def type(self, key: str, name: str, value: Any = None) -> None:
        """Type one; where it is their default and ours is another, this is said."""
        typed = self[name] if value is None else value
        if self.is_default(name):
            theirs = typed if self[name] is None else self[name]
            self.into.type_default(key, typed, name, theirs, _OURS.get(name))
        else:
            self.into.type(key, typed, name)

    def leave_out(self, name: str, why: str) -> None:
        self.into.leave_out(name, self[name], why)


_USUAL_OF_ACCELERATE = ("even_batches", "use_seedable_sampler")


def _batches(asked: _Asked) -> None:
    per_pass, passes = asked["per_device_train_batch_size"], asked["gradient_accumulation_steps"]
    if not all(isinstance(n, int) and n > 0 for n in (per_pass, passes)):
        asked.leave_out("per_device_train_batch_size", "expected a whole number above 0")
        return
    asked.type("data.batch_size", "per_device_train_batch_size", per_pass * passes)
    if passes > 1:
        asked.into.type("data.micro_batch_size", per_pass, "gradient_accumulation_steps")


def _length(asked: _Asked) -> None:
    steps, epochs = asked["max_steps"], asked["num_train_epochs"]
    if isinstance(steps, int) and steps > 0:
        asked.into.type("lightning.max_steps", steps, "max_steps")
    else:
        whole = isinstance(epochs, float) and epochs.is_integer()
        asked.type("lightning.max_epochs", "num_train_epochs", int(epochs) if whole else epochs)


def _optimizer(asked: _Asked) -> None:
    name = str(asked["optim"])
    adam = name.startswith("adamw_torch") and "bit" not in name
    if name == "sgd":
        for key, value in (("optim", "sgd"), ("optim.momentum", 0.0), ("optim.nesterov", False)):
            asked.into.type(key, value, "optim")
    elif not adam and name not in ("adamw_hf", "adamw_apex_fused"):
        asked.leave_out("optim", "AdamW of torch is typed; others are optim._target_=package.Class")
    asked.type("optim.lr", "learning_rate")
    asked.type("optim.weight_decay", "weight_decay", asked["weight_decay"] or 0.0)
    betas, eps = [asked["adam_beta1"], asked["adam_beta2"]], asked["adam_epsilon"]
    if name != "sgd" and betas != [DEFAULTS["adam_beta1"], DEFAULTS["adam_beta2"]]:
        asked.into.type("optim.betas", betas, "adam_beta1")
    if name != "sgd" and eps != DEFAULTS["adam_epsilon"]:
        asked.into.type("optim.eps", eps, "adam_epsilon")


def _schedule(asked: _Asked) -> None:
    name = str(asked["lr_scheduler_type"])
    warmup = asked["warmup_steps"] or asked["warmup_ratio"]
    further = asked["lr_scheduler_kwargs"] or {}
    if name == "constant":
        asked.into.type("schedule", "constant", "lr_scheduler_type")
        return
    asked.type("schedule", "lr_scheduler_type", "hf")
    asked.into.type("schedule.name", name, "lr_scheduler_type")
    if warmup:
        asked.into.type("schedule.warmup", warmup, "warmup_steps")
    if not isinstance(further, Mapping) or any(not str(key).isidentifier() for key in further):
        asked.leave_out("lr_scheduler_kwargs", "expected names with values")
        return
    for key, value in further.items():
        if str(key).startswith("_"):
            asked.leave_out("lr_scheduler_kwargs", "the name of code is not taken from a file of others")
        else:
            asked.into.type(f"+schedule.{key}", value, "lr_scheduler_kwargs")


def _chance_and_clip(asked: _Asked) -> None:
    asked.type("seed", "seed")
    if asked["max_grad_norm"]:
        asked.type("clip.norm", "max_grad_norm")


def _precision(asked: _Asked) -> None:
    if asked["bf16"] or asked["fp16"]:
        half, kind = ("bf16", "bf16-mixed") if asked["bf16"] else ("fp16", "16-mixed")
        asked.type("lightning.precision", half, kind)
    if asked["gradient_checkpointing"] or asked["activation_checkpointing"]:
        asked.type("model.gradient_checkpointing", "gradient_checkpointing", True)
    options = {part: asked[f"torch_compile_{part}"] for part in ("backend", "mode")}
    # Torch's own, which a dump names.
    options = {part: value for part, value in options.items() if value and value != "inductor"}
    if asked["torch_compile"] or options:
        asked.into.type("model.compile", options or True, "torch_compile")


def _evaluation(asked: _Asked) -> None:
    strategy, every = str(asked["eval_strategy"]), asked["eval_steps"] or asked["logging_steps"]
    size = asked["per_device_eval_batch_size"]
    if strategy == "no":
        asked.type("lightning.limit_val_batches", "eval_strategy", 0)
        return
    asked.into.type("data.eval_batch_size", size, "per_device_eval_batch_size")
    if strategy == "steps" and isinstance(every, int):
        asked.into.type("lightning.val_check_interval", every, "eval_steps")
        asked.into.type("lightning.check_val_every_n_epoch", None, "eval_steps")
    elif strategy == "steps":
        asked.leave_out("eval_steps", "a share of the run; type lightning.val_check_interval=STEPS")
    if not asked["load_best_model_at_end"]:
        asked.leave_out("load_best_model_at_end", "the best weights are what is exported, as always")


def _best(asked: _Asked) -> None:
    metric, greater = asked["metric_for_best_model"], asked["greater_is_better"]
    if metric:
        name = str(metric).removeprefix("eval_")
        asked.into.type("monitor", "val_loss" if name == "loss" else name, "metric_for_best_model")
        if greater is not None:
            asked.into.type("mode", "max" if greater else "min", "greater_is_better")


def _saving(asked: _Asked) -> None:
    strategy, every = str(asked["save_strategy"]), asked["save_steps"]
    if strategy == "steps" and not asked.is_default("save_steps"):
        if isinstance(every, int):
            asked.into.type("callbacks.auto_retry.save_every_n_steps", every, "save_steps")
        else:
            asked.leave_out(
                "save_steps", "a share of the run; type callbacks.auto_retry.save_every_n_steps=N"
            )
    elif strategy == "no":
        asked.leave_out(
            "save_strategy", "commits are made in any case: a run that is killed goes on from one"
        )
    if asked["resume_from_checkpoint"]:
        asked.leave_out("resume_from_checkpoint", "a checkpoint of theirs is not continued; load its model")


def _logging(asked: _Asked) -> None:
    strategy, every = str(asked["logging_strategy"]), asked["logging_steps"]
    if strategy != "steps":
        asked.leave_out("logging_strategy", "every log.every_n_steps=50 steps, and each epoch")
    elif not asked.is_default("logging_steps"):
        if isinstance(every, int):
            asked.into.type("log.every_n_steps", every, "logging_steps")
        else:
            asked.leave_out("logging_steps", "a share of the run; type log.every_n_steps=N")
    levels = (("log_level", "log.level"), ("log_level_replica", "log.replica_level"))
    for name, key in levels:
        level = str(asked[name]).upper()
        if not asked.is_default(name):
            if level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
                asked.into.type(key, level, name)
            else:
                asked.leave_out(name, f"type {key}=INFO or another")
    if asked["skip_memory_metrics"] is False or not asked.is_default("include_num_input_tokens_seen"):
        asked.into.type("callbacks.usage_report", True, "skip_memory_metrics")
    asked.done.add("include_num_input_tokens_seen")
    _loggers(asked)


def _loggers(asked: _Asked) -> None:
    found = asked["report_to"]
    names = [str(name) for name in (found if isinstance(found, list) else [found]) if name]
    known = [name for name in names if name in _LOGGERS]
    if known:
        asked.into.type("logger", ["jsonl", *known], "report_to")
    if others := [name for name in names if name not in (*_LOGGERS, "none")]:
        asked.into.leave_out("report_to", others, f"loggers of ours: {', '.join(_LOGGERS)}, csv")


def _names(asked: _Asked) -> None:
    name, project = asked["run_name"], asked["project"]
    for field, value, key in (("run_name", name, "run_id"), ("project", project, "name")):
        if not value or asked.is_default(field) or value == asked["output_dir"]:
            continue
        if _NAME.fullmatch(str(value)):
            asked.into.type(key, str(value), field)
        else:
            asked.leave_out(field, f"type {key}=NAME, of letters, digits, dots and dashes")
    if asked["output_dir"]:
        asked.into.type("output_dir", asked["output_dir"], "output_dir")


def _hub(asked: _Asked) -> None:
    model, strategy, private = asked["hub_model_id"], asked["hub_strategy"], asked["hub_private_repo"]
    if not asked["push_to_hub"]:
        return
    asked.into.settings["callbacks"] = "[default,hub_push]"
    asked.into.type("callbacks.hub_push.strategy", strategy, "hub_strategy")
    if model:
        asked.into.type("callbacks.hub_push.repo", model, "hub_model_id")
    else:
        asked.leave_out("hub_model_id", "type callbacks.hub_push.repo=OWNER/NAME")
    if private is not None:
        asked.into.type("callbacks.hub_push.private", private, "hub_private_repo")


def _order(asked: _Asked) -> None:
    how = "group_by_length" if asked["group_by_length"] else str(asked["train_sampling_strategy"])
    if how == "group_by_length":
        asked.into.type("data.group_by_length", True, "train_sampling_strategy")
    elif how == "sequential":
        asked.into.type("data.shuffle", False, "train_sampling_strategy")
    elif how != "random":
        asked.leave_out("train_sampling_strategy", FIELDS["train_sampling_strategy"].note)


def _devices(asked: _Asked) -> None:
    """Which strategy; after it, what is set of it."""
    into = asked.into
    deepspeed, sharded = asked["deepspeed"], asked["fsdp"]
    if asked["fsdp_config"] and sharded:
        asked.leave_out("fsdp_config", "of ours, lightning.strategy.NAME beside strategy=fsdp")
    if sharded:
        into.type("strategy", "fsdp", "fsdp")
    if isinstance(deepspeed, Mapping):
        zero = deepspeed.get("zero_optimization")
        stage = zero.get("stage") if isinstance(zero, Mapping) else None
        if stage in (1, 2, 3):
            into.type("strategy", f"deepspeed_{stage}", "deepspeed")
            into.leave_out(
                "deepspeed", None, "the stage is typed; of ours, the rest is lightning.strategy.NAME"
            )
    if deepspeed and "strategy" not in into.settings:
        asked.leave_out("deepspeed", "of ours, strategy=deepspeed_2 +lightning.strategy.config=FILE")
    for name, choice in (
        ("ddp_find_unused_parameters", "ddp_find_unused"),
        ("ddp_static_graph", "ddp_static"),
    ):
        if asked[name]:
            into.type("strategy", choice, name)
    for name in ("ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_backend"):
        if asked[name] is not None:
            into.settings.setdefault("strategy", "ddp")
            into.type(str(FIELDS[name].setting).partition("=")[0], asked[name], name)


_TOGETHER: tuple[Callable[[_Asked], None], ...] = (
    _batches,
    _length,
    _optimizer,
    _schedule,
    _chance_and_clip,
    _precision,
    _evaluation,
    _best,
    _saving,
    _logging,
    _names,
    _hub,
    _order,
    _devices,
)


def _convert_alone(name: str, value: Any, into: Conversion) -> None:
    """A field that is a setting of ours by itself, as the table says."""
    setting, note = FIELDS[name].setting, FIELDS[name].note
    if setting == "" and value and ("always" in note or FIELDS[name].does == "always"):
        return
    if not setting or "=" not in setting or value is False and "{}" not in setting:
        why = note or "there is no such setting"
        into.leave_out(name, value, f"of ours, {setting}; {why}" if setting else why)
        return
    for part in setting.split():
        key, _, pattern = part.partition("=")
        if pattern == "{}":
            into.type(key, value, name)
        else:
            into.settings[key] = pattern
