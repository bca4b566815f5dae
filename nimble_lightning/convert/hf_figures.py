"""Those TrainingArguments that decide figures and are settings of ours only several together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nimble_lightning.convert.asked_fields import DEFAULTS, AskedFields


def _batches(asked: AskedFields) -> None:
    per_pass, passes = asked["per_device_train_batch_size"], asked["gradient_accumulation_steps"]
    if not all(isinstance(n, int) and n > 0 for n in (per_pass, passes)):
        asked.leave_out("per_device_train_batch_size", "expected a whole number above 0")
        return
    asked.type("data.batch_size", "per_device_train_batch_size", per_pass * passes)
    if passes > 1:
        asked.into.type("data.micro_batch_size", per_pass, "gradient_accumulation_steps")


def _length(asked: AskedFields) -> None:
    steps, epochs = asked["max_steps"], asked["num_train_epochs"]
    if isinstance(steps, int) and steps > 0:
        asked.into.type("lightning.max_steps", steps, "max_steps")
    else:
        whole = isinstance(epochs, float) and epochs.is_integer()
        asked.type("lightning.max_epochs", "num_train_epochs", int(epochs) if whole else epochs)


def _optimizer(asked: AskedFields) -> None:
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


def _schedule(asked: AskedFields) -> None:
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


def _chance_and_clip(asked: AskedFields) -> None:
    asked.type("seed", "seed")
    if asked["max_grad_norm"]:
        asked.type("clip.norm", "max_grad_norm")


def _precision(asked: AskedFields) -> None:
    if asked["bf16"] or asked["fp16"]:
        half, kind = ("bf16", "bf16-mixed") if asked["bf16"] else ("fp16", "16-mixed")
        asked.type("lightning.precision", half, kind)
    for name in ("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"):
        # As here.
        if asked.values.get(name) == {"use_reentrant": False}:
            asked.done.add(name)
    if asked["gradient_checkpointing"] or asked["activation_checkpointing"]:
        asked.type("model.gradient_checkpointing", "gradient_checkpointing", True)
    options = {part: asked[f"torch_compile_{part}"] for part in ("backend", "mode")}
    # Torch's own, which a dump names.
    options = {part: value for part, value in options.items() if value and value != "inductor"}
    if asked["torch_compile"] or options:
        asked.into.type("model.compile", options or True, "torch_compile")


def _evaluation(asked: AskedFields) -> None:
    strategy, every = str(asked["eval_strategy"]), asked["eval_steps"] or asked["logging_steps"]
    size = asked["per_device_eval_batch_size"]
    if strategy == "no":
        key, ours = asked.off
        asked.into.type_default(key, 0, "eval_strategy", "no", ours)
        return
    asked.into.type("data.eval_batch_size", size, "per_device_eval_batch_size")
    if strategy == "steps" and isinstance(every, int):
        asked.into.type("lightning.val_check_interval", every, "eval_steps")
        asked.into.type("lightning.check_val_every_n_epoch", None, "eval_steps")
    elif strategy == "steps":
        asked.leave_out("eval_steps", "a share of the run; type lightning.val_check_interval=STEPS")
    if not asked["load_best_model_at_end"]:
        asked.leave_out("load_best_model_at_end", "the best weights are what is exported, as always")


def _best(asked: AskedFields) -> None:
    metric, greater = asked["metric_for_best_model"], asked["greater_is_better"]
    if metric:
        name = str(metric).removeprefix("eval_")
        asked.into.type("monitor", "val_loss" if name == "loss" else name, "metric_for_best_model")
        if greater is not None:
            asked.into.type("mode", "max" if greater else "min", "greater_is_better")


FIGURES: tuple[Callable[[AskedFields], None], ...] = (
    _batches,
    _length,
    _optimizer,
    _schedule,
    _chance_and_clip,
    _precision,
    _evaluation,
    _best,
)
