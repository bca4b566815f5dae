"""A YAML that TRL's command line takes: `trl sft --config FILE`; dpo, kto and reward likewise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nimble_lightning.convert.language_model import ChatConversion

# By the names of their commands.
TASKS = {"sft": "SFT", "dpo": "DPO", "kto": "KTO", "reward": "RewardModel"}
_RATES = {"sft": 2e-5, "dpo": 1e-6, "kto": 1e-6, "reward": 1e-4}
# Where a YAML has one of these, it is for that.
_MARKS = {
    "kto": ("desirable_weight", "undesirable_weight"),
    "reward": ("center_rewards_coefficient",),
}
_ONLY_DPO = (
    "beta", "precompute_ref_log_probs", "precompute_ref_batch_size", "reference_free", "sync_ref_model",
    "rpo_alpha", "f_divergence_type", "max_prompt_length", "max_completion_length",
    "ref_model_mixup_alpha", "ld_alpha", "use_weighting",
)  # fmt: skip
_SKIPPED = (
    "dataset_num_proc", "padding_free", "precompute_ref_log_probs",
    "precompute_ref_batch_size", "lora_task_type", "bnb_4bit_quant_type", "bnb_4bit_quant_storage",
    "use_bnb_nested_quant", "dataset_kwargs", "log_completions",
)  # fmt: skip
_NOT_HERE = {
    "trust_remote_code": "no code of the Hub is run",
    "load_in_4bit": "there is no QLoRA yet; the weights are float32",
    "load_in_8bit": "there is no QLoRA yet; the weights are float32",
    "use_rslora": "there is none; params.alpha scales the adapter",
    "lora_modules_to_save": "of ours, an adapter is all that is trained",
    "lora_target_parameters": "of ours, params.targets names layers",
    "dataset_config": "write the data set as a file with it",
    "dataset_streaming": "files are read as a whole",
    "max_prompt_length": "of ours, params.longest is for prompt and answer",
    "max_completion_length": "of ours, params.longest is for prompt and answer",
    "activation_offloading": "there is none",
    "label_smoothing": "the loss is without",
    "rpo_alpha": "the loss is without",
    "reference_free": "the reference is the model before training",
    "sync_ref_model": "the reference is the model before training",
    "ld_alpha": "the loss is without",
    "use_weighting": "the loss is without",
    "model_init_kwargs": "models are loaded as they are",
    "pad_token": "padding is not learned, whatever it is",
    "pad_to_multiple_of": "rows are as long as they have to be",
}
_USUAL_VALUES = {
    "dataset_text_field": ("text", "conversations are read by their own names"),
    "model_revision": ("main", "the newest of a model is loaded; params.model may be a folder"),
    "attn_implementation": ("sdpa", "the attention is SDPA, which keeps texts of a row apart"),
    "packing_strategy": ("bfd", "rows are filled best fit first"),
    "truncation_mode": ("keep_start", "texts are cut at their end"),
    "f_divergence_type": ("reverse_kl", "the loss is that of the reverse divergence"),
}
_USUAL = {"gradient_checkpointing": True, "logging_steps": 10}


def is_trl(given: Mapping[str, Any]) -> bool:
    """Whether these are fields of TRL's command line."""
    return any(name in given for name in ("model_name_or_path", "dataset_name", "use_peft"))


def convert_trl(given: Mapping[str, Any], task: str | None = None) -> ChatConversion:
    """The command line for a YAML of TRL's.

    Args:
        given: Its fields.
        task: Which of their commands it is for, where it fits several.
    """
    marked = {**_MARKS, "dpo": _ONLY_DPO}
    asked = task or next((t for t, names in marked.items() if any(n in given for n in names)), "sft")
    into = ChatConversion(f"a YAML for trl {asked}", TASKS[asked], given)
    if task is None and asked in ("sft", "dpo"):
        others = "dpo, kto or reward" if asked == "sft" else "kto"
        why = f"nothing is of {others} alone, so taken for {asked}; --task {others} says otherwise"
        into.leave_out("task", None, why)
    into.type_model("model_name_or_path")
    _data(into)
    into.type_lengths("max_seq_length" if "max_seq_length" in given else "max_length", 1024)
    packed = into.take("packing", False)
    into.type_packing(packed)
    if (evaluated := into.take("eval_packing")) is not None and evaluated != packed:
        into.leave_out("eval_packing", evaluated, "rows are evaluated as they are trained on")
    _LOSSES[asked](into)
    _adapter(into)
    into.type_weights("dtype" if "dtype" in given else "torch_dtype")
    if template := into.take("chat_template_path"):
        into.type("params.template", template, "chat_template_path")
    if stop := into.take("eos_token"):
        into.type("params.stop", stop, "eos_token")
    into.leave_out_all(_NOT_HERE)
    for name, (usual, why) in _USUAL_VALUES.items():
        if (value := into.take(name, usual)) != usual:
            into.leave_out(name, value, why)
    into.skip(_SKIPPED)
    half = {} if into.fields.get("fp16") or "lightning.precision" in into.settings else {"bf16": True}
    into.type_arguments({**_USUAL, **half, "learning_rate": _RATES[asked]}, known=_KNOWN)
    return into


_KNOWN = (
    *("model_name_or_path", "dataset_name", "dataset_train_split", "max_length", "packing", "use_peft"),
    *("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "assistant_only_loss", "beta", "dtype"),
)


def _data(into: ChatConversion) -> None:
    split, held_out = into.take("dataset_train_split", "train"), into.take("dataset_test_split", "test")
    name, mixture = into.take("dataset_name"), into.take("datasets")
    names = [str(name)] if name else []
    for part in mixture if isinstance(mixture, list) else ():
        path = part.get("path") if isinstance(part, Mapping) else part
        names += [str(path)] if path else []
    into.type_data("params.data", "dataset_name", names, str(split))
    if into.fields.get("eval_strategy", "no") != "no" and names:
        into.type_data("params.eval_data", "dataset_test_split", names[:1], str(held_out))


def _what_is_learned(into: ChatConversion) -> None:
    answers, completion = into.take("assistant_only_loss"), into.take("completion_only_loss")
    if (loss := into.take("loss_type", "nll")) not in ("nll", "chunked_nll"):
        into.leave_out("loss_type", loss, "the loss is the cross-entropy")
    if answers or completion:
        into.type("params.learn", "answers", "assistant_only_loss")
    elif completion is False:
        into.type("params.learn", "everything", "completion_only_loss")
    else:
        ours = "answers; so theirs where data is prompt and completion: leave it out then"
        into.type_default("params.learn", "everything", "assistant_only_loss", False, ours)


def _preferences(into: ChatConversion) -> None:
    into.type_param("beta", "beta", 0.1, "0.1")
    loss = into.take("loss_type", "sigmoid")
    only = loss[0] if isinstance(loss, list) and len(loss) == 1 else loss
    if only in ("sigmoid", "ipo"):
        into.type("params.loss", only, "loss_type")
    else:
        into.leave_out("loss_type", loss, "there are sigmoid, ipo and orpo; sigmoid is what a run has")


def _ratings(into: ChatConversion) -> None:
    into.type_ratings("beta", "desirable_weight", "undesirable_weight")
    if (order := into.take("train_sampling_strategy", "sequential")) == "sequential":
        into.type_default("data.shuffle", False, "train_sampling_strategy", order)
    if (loss := into.take("loss_type", "kto")) != "kto":
        into.leave_out("loss_type", loss, "there is kto")


def _rewards(into: ChatConversion) -> None:
    if center := into.take("center_rewards_coefficient"):
        into.type("params.center", center, "center_rewards_coefficient")


_LOSSES = {"sft": _what_is_learned, "dpo": _preferences, "kto": _ratings, "reward": _rewards}


def _adapter(into: ChatConversion) -> None:
    names = {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "lora_target_modules": None}
    rank, alpha, dropout, targets = (into.take(name, usual) for name, usual in names.items())
    dora = into.take("use_dora")
    if into.take("use_peft"):
        into.type_adapter(rank, alpha, dropout, targets, "lora_r")
        if dora:
            into.type("params.dora", True, "use_dora")
