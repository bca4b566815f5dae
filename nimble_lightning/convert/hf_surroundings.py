"""Those about files, logs, devices and the order of data that are settings of ours only together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from nimble_lightning.api.hf.training_arguments import FIELDS
from nimble_lightning.convert.asked_fields import AskedFields

_LOGGERS = ("tensorboard", "wandb", "mlflow", "trackio")
_NAME = re.compile(r"[\w][\w.-]*")


def _saving(asked: AskedFields) -> None:
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


def _logging(asked: AskedFields) -> None:
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


def _loggers(asked: AskedFields) -> None:
    found = asked["report_to"]
    names = [str(name) for name in (found if isinstance(found, list) else [found]) if name]
    known = [name for name in names if name in _LOGGERS]
    if known:
        asked.into.type("logger", ["jsonl", *known], "report_to")
    if others := [name for name in names if name not in (*_LOGGERS, "none")]:
        asked.into.leave_out("report_to", others, f"loggers of ours: {', '.join(_LOGGERS)}, csv")


def _names(asked: AskedFields) -> None:
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


def _hub(asked: AskedFields) -> None:
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


def _order(asked: AskedFields) -> None:
    how = "group_by_length" if asked["group_by_length"] else str(asked["train_sampling_strategy"])
    if how == "group_by_length":
        asked.into.type("data.group_by_length", True, "train_sampling_strategy")
    elif how == "sequential":
        asked.into.type("data.shuffle", False, "train_sampling_strategy")
    elif how != "random":
        asked.leave_out("train_sampling_strategy", FIELDS["train_sampling_strategy"].note)


def _devices(asked: AskedFields) -> None:
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


SURROUNDINGS: tuple[Callable[[AskedFields], None], ...] = (
    _saving,
    _logging,
    _names,
    _hub,
    _order,
    _devices,
)
