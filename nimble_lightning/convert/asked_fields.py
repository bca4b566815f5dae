"""Fields of TrainingArguments with their defaults, and which of them have been read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nimble_lightning.convert.conversion import Conversion

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
# What no key says.
_OURS = {
    "learning_rate": "self.lr, or 1e-3",
    "num_train_epochs": "10",
}


class AskedFields:
    """Fields with their defaults, of which those that were read need not be looked at again."""

    def __init__(
        self,
        values: Mapping[str, Any],
        defaults: Mapping[str, Any],
        into: Conversion,
        off: tuple[str, str],
    ) -> None:
        self.values = values
        self.defaults = defaults
        self.into = into
        self.off = off
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
