"""A YAML that Oumi takes: `oumi train -c FILE`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nimble_lightning.convert.language_model import ChatConversion
from nimble_lightning.errors import RequestError

_TASKS = {"TRL_SFT": "SFT", "TRL_DPO": "DPO", "TRL_KTO": "KTO"}
# Of its section `training`, by the names that transformers has.
_RENAMED = {
    "enable_gradient_checkpointing": "gradient_checkpointing",
    "optimizer": "optim",
    "compile": "torch_compile",
    "empty_device_cache_steps": "torch_empty_cache_steps",
    "include_performance_metrics": "include_num_input_tokens_seen",
}
_SKIPPED = (
    "trainer_type", "use_peft", "dep_log_level", "save_final_model", "log_model_summary", "telemetry",
    "profiler", "include_alternative_mfu_metrics", "try_resume_from_last_checkpoint",
    "enable_tensorboard", "logging_dir", "dataloader_main_process_only", "label_ignore_index",
    "model.shard_for_eval", "model.device_map", "model.load_pretrained_weights",
    "data.train.use_async_dataset", "data.train.use_torchdata", "data.train.collator_kwargs",
    "peft.peft_save_mode", "peft.lora_task_type", "peft.bnb_4bit_quant_type",
)  # fmt: skip
_NOT_HERE = {
    "model.adapter_model": "params.model may be the folder of a run, not an adapter of others",
    "model.tokenizer_name": "the tokenizer is the model's",
    "model.tokenizer_pad_token": "padding is not learned, whatever it is",
    "data.train.target_col": "conversations are read by their own names",
    "data.validation.target_col": "conversations are read by their own names",
    "model.trust_remote_code": "no code of the Hub is run",
    "model.chat_template": "params.template=FILE is another than the tokenizer's",
    "model.freeze_layers": "there is none",
    "model.model_kwargs": "models are loaded as they are",
    "model.tokenizer_kwargs": "the tokenizer is the model's",
    "model.enable_liger_kernel": "logits of a batch are never whole in memory in any case",
    "data.train.stream": "files are read as a whole",
    "data.train.seed": "of ours, data.seed",
    "data.train.mixture_strategy": "of ours, params.data=[{path: FILE, weight: NUMBER}]",
    "peft.lora_modules_to_save": "of ours, an adapter is all that is trained",
    "peft.q_lora": "there is no QLoRA yet; the weights are float32",
    "metrics_function": "perplexity, or accuracy and margin of pairs, are what is evaluated",
    "nccl_default_timeout_minutes": "of ours, +lightning.strategy.timeout",
    "deepspeed": "of ours, strategy=deepspeed_2",
}
_TO_TRL = {"max_length": "the longest text is model.model_max_length", "max_seq_length": "the same"}
_ENABLED = {"enable_wandb": "wandb", "enable_mlflow": "mlflow"}


def is_oumi(given: Mapping[str, Any]) -> bool:
    """Whether these are sections of Oumi's."""
    return all(isinstance(given.get(name), Mapping) for name in ("model", "training"))


def convert_oumi(given: Mapping[str, Any]) -> ChatConversion:
    """The command line for a training YAML of Oumi's.

    Raises:
        RequestError: It asks for a training that there is not.
    """
    training = _section(given, "training")
    kind = str(training.get("trainer_type", "HF")).upper()
    if kind not in _TASKS:
        raise RequestError(
            f"training.trainer_type: {kind} has no trainer here; there are {', '.join(_TASKS)}"
        )
    into = ChatConversion("a YAML of Oumi", _TASKS[kind], _flat(given, training))
    into.type_model("model.model_name")
    _data(into, given)
    into.type_lengths("model.model_max_length", None)
    into.type_packing(into.take("data.train.pack"))
    if into.task == "SFT":
        _what_is_learned(into)
    elif into.task == "DPO":
        into.type_param("beta", "beta", 0.1, "0.1")
    else:
        into.type_ratings("beta", "desirable_weight", "undesirable_weight")
    if training.get("use_peft"):
        names = {"lora_r": 8, "lora_alpha": 8, "lora_dropout": 0.0, "lora_target_modules": None}
        rank, alpha, dropout, targets = (into.take(f"peft.{name}", usual) for name, usual in names.items())
        into.type_adapter(rank, alpha, dropout, targets, "peft.lora_r")
    else:
        into.skip([name for name in into.fields if name.startswith("peft.")])
    into.type_weights("model.torch_dtype_str")
    if into.take("model.load_pretrained_weights") is False:
        into.leave_out("model.load_pretrained_weights", False, "the weights of a model are always loaded")
    _precision_and_saving(into)
    if (attention := into.take("model.attn_implementation", "sdpa")) != "sdpa":
        into.leave_out("model.attn_implementation", attention, "the attention is SDPA")
    into.leave_out_all(_NOT_HERE | _TO_TRL)
    into.skip(_SKIPPED)
    usual = {"optim": "adamw_torch", "logging_steps": 50, "data_seed": 42, "log_level": "info"}
    into.type_arguments(usual, [*_RENAMED, *_ENABLED, "mixed_precision_dtype", "model.model_name"])
    if "data_seed" not in training:
        into.type_default("data.seed", 42, "data_seed", 42, "as seed")
    return into


def _section(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = given.get(name)
    return dict(section) if isinstance(section, Mapping) else {}


def _flat(given: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `training` by the names of transformers, all others with their section before them."""
    further = _section(training, "trainer_kwargs")
    found = {_RENAMED.get(name, name): value for name, value in {**training, **further}.items()}
    found.pop("trainer_kwargs", None)
    for section in ("model", "peft"):
        found |= {f"{section}.{name}": value for name, value in _section(given, section).items()}
    for split in ("train", "validation"):
        part = _section(_section(given, "data"), split)
        found |= {f"data.{split}.{name}": value for name, value in part.items() if name != "datasets"}
    found |= {
        name: value for name, value in given.items() if name not in ("model", "peft", "data", "training")
    }
    return found


def _data(into: ChatConversion, given: Mapping[str, Any]) -> None:
    data = _section(given, "data")
    for split, key in (("train", "params.data"), ("validation", "params.eval_data")):
        listed = _section(data, split).get("datasets") or []
        sets = [each for each in listed if isinstance(each, Mapping)]
        field = f"data.{split}.datasets"
        splits = {str(each.get("split") or split) for each in sets} or {split}
        names = [str(each.get("dataset_path") or each.get("dataset_name") or "") for each in sets]
        if split == "train" or (names and into.fields.get("eval_strategy", "no") != "no"):
            into.type_data(key, field, [name for name in names if name], splits.pop())
        for each in sets:
            for name in ("mixture_proportion", "sample_count", "dataset_kwargs", "transform_num_workers"):
                if each.get(name):
                    into.leave_out(f"{field}.{name}", each[name], "of ours, {path: FILE, weight: NUMBER}")


def _what_is_learned(into: ChatConversion) -> None:
    collator = into.take("data.train.collator_name")
    into.skip(["data.validation.collator_name"])
    if collator == "text_completions_only_with_padding":
        into.type("params.learn", "answers", "data.train.collator_name")
    elif collator in (None, "text_with_padding"):
        into.type_default("params.learn", "everything", "data.train.collator_name", collator, "answers")
    else:
        into.leave_out("data.train.collator_name", collator, "answers are learned; params.learn has others")


def _precision_and_saving(into: ChatConversion) -> None:
    mixed = str(into.take("mixed_precision_dtype", "none")).lower()
    if mixed in ("bf16", "fp16") and "lightning.precision" not in into.settings:
        into.fields[mixed] = True
    if into.take("save_epoch") and not into.fields.get("save_steps"):
        into.fields["save_strategy"] = "epoch"
        into.skip(["save_steps"])
    elif into.fields.get("save_steps") == 0:
        into.fields["save_strategy"] = "no"
    if loggers := [logger for name, logger in _ENABLED.items() if into.take(name)]:
        into.fields["report_to"] = loggers
    if into.fields.get("dataloader_num_workers") == "auto":
        into.leave_out(
            "dataloader_num_workers", into.take("dataloader_num_workers"), "type data.num_workers=N"
        )
