"""A YAML that LLaMA-Factory takes: `llamafactory-cli train FILE`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nimble_lightning.convert.language_model import ChatConversion
from nimble_lightning.errors import RequestError
from nimble_lightning.ops import plain_files

_MARKS = ("stage", "finetuning_type", "cutoff_len", "lora_rank")
_TASKS = {"sft": "SFT", "dpo": "DPO", "kto": "KTO", "rm": "RewardModel"}
_SKIPPED = (
    "overwrite_cache", "preprocessing_num_workers", "preprocessing_batch_size", "plot_loss", "media_dir",
    "tokenized_path", "print_param_status", "ignore_pad_token_for_loss",
)  # fmt: skip
_NOT_HERE = {
    "template": "of ours, the chat template of the tokenizer; params.template=FILE is another",
    "adapter_name_or_path": "params.model may be the folder of a run, not an adapter of others",
    "trust_remote_code": "no code of the Hub is run",
    "max_samples": "the whole of the data is read; write a file with fewer",
    "streaming": "files are read as a whole",
    "mix_strategy": "of ours, params.data=[{path: FILE, weight: NUMBER}]",
    "interleave_probs": "of ours, params.data=[{path: FILE, weight: NUMBER}]",
    "quantization_bit": "there is no QLoRA yet; the weights are float32",
    "enable_liger_kernel": "logits of a batch are never whole in memory in any case",
    "use_unsloth": "there is none",
    "use_rslora": "there is none; params.alpha scales the adapter",
    "pissa_init": "there is none",
    "loraplus_lr_ratio": "there is none",
    "additional_target": "of ours, an adapter is all that is trained",
    "use_galore": "there is none",
    "use_apollo": "there is none",
    "use_badam": "there is none",
    "pref_ftx": "the loss is without",
    "dpo_label_smoothing": "the loss is without",
    "ref_model": "the reference is the model before training",
    "rope_scaling": "models are loaded as they are",
    "resize_vocab": "models are loaded as they are",
    "tool_format": "of ours, the chat template of the tokenizer",
    "use_swanlab": "loggers of ours: tensorboard, wandb, mlflow, trackio, csv",
    "predict_with_generate": "there is none",
}
_KNOWN = (
    *("model_name_or_path", "dataset", "eval_dataset", "cutoff_len", "packing", "neat_packing", "val_size"),
    *("lora_rank", "lora_alpha", "lora_dropout", "lora_target", "train_on_prompt", "mask_history"),
    *("pref_beta", "pref_loss", "kto_chosen_weight", "kto_rejected_weight", "pure_bf16", "flash_attn"),
)


def is_llama_factory(given: Mapping[str, Any]) -> bool:
    """Whether these are fields of LLaMA-Factory."""
    return any(name in given for name in _MARKS)


def convert_llama_factory(given: Mapping[str, Any]) -> ChatConversion:
    """The command line for a YAML of LLaMA-Factory's.

    Raises:
        RequestError: It asks for a training that there is not.
    """
    stage, kind = str(given.get("stage") or "sft"), str(given.get("finetuning_type") or "lora")
    if stage not in _TASKS:
        raise RequestError(f"stage: {stage} has no trainer here; there are {', '.join(_TASKS)}")
    if kind not in ("lora", "full"):
        raise RequestError(f"finetuning_type: {kind} is not there; there are lora and full")
    into = ChatConversion("a YAML of LLaMA-Factory", _TASKS[stage], given)
    into.skip(("stage", "finetuning_type"))
    into.type_model("model_name_or_path")
    _data(into)
    into.type_lengths("cutoff_len", 2048)
    neat, packed = into.take("neat_packing"), into.take("packing")
    into.type_packing(neat or packed)
    if packed and not neat:
        into.leave_out("packing", True, "texts that share a row see each other there; not here")
    if into.task == "SFT":
        _what_is_learned(into)
    elif into.task == "DPO":
        _preferences(into)
    elif into.task == "KTO":
        into.type_ratings("pref_beta", "kto_chosen_weight", "kto_rejected_weight")
    _adapter(into, kind)
    if kind == "lora" and into.fields.get("bf16"):
        into.leave_out("bf16", True, "their base is in bf16; ours is float32, computed in bf16")
    if into.take("pure_bf16"):
        into.skip(["bf16"])
        into.type("lightning.precision", "bf16-true", "pure_bf16")
    if (attention := into.take("flash_attn", "auto")) not in ("auto", "sdpa"):
        into.leave_out("flash_attn", attention, "the attention is SDPA, which keeps texts of a row apart")
    recompute = not into.take("disable_gradient_checkpointing", False)
    into.leave_out_all(_NOT_HERE)
    into.skip(_SKIPPED)
    usual = {"optim": "adamw_torch", **({"gradient_checkpointing": True} if recompute else {})}
    into.type_arguments(usual, _KNOWN)
    return into


def _data(into: ChatConversion) -> None:
    folder = Path(str(into.take("dataset_dir", "data")))
    evaluated = into.fields.get("eval_strategy", into.fields.get("evaluation_strategy", "no")) != "no"
    into.type_data("params.data", "dataset", _files(into, "dataset", into.take("dataset"), folder))
    held_out, share = into.take("eval_dataset"), into.take("val_size", 0.0)
    if held_out:
        files = _files(into, "eval_dataset", held_out, folder)
        into.type_data("params.eval_data", "eval_dataset", files, "eval")
    elif evaluated and isinstance(share, float) and 0 < share < 1:
        into.type("params.eval_share", share, "val_size")
    elif evaluated and share:
        into.leave_out("val_size", share, "a share of the data is expected: params.eval_share=0.1")


def _files(into: ChatConversion, field: str, names: Any, folder: Path) -> list[str]:
    """The files of data sets, where their list is here; else those that are usually called so."""
    listed = plain_files.read_json(folder, "dataset_info.json")
    asked = names if isinstance(names, list) else str(names or "").split(",")
    found = []
    for name in filter(None, (str(each).strip() for each in asked)):
        entry = listed.get(name) if isinstance(listed, dict) else None
        entry = entry if isinstance(entry, dict) else {}
        if file := entry.get("file_name"):
            found.append(str(folder / str(file)))
        elif address := entry.get("hf_hub_url"):
            found.append(str(address))
        else:
            found.append(str(folder / f"{name}.json"))
            into.leave_out(field, name, f"no dataset_info.json here says its file; {found[-1]} is typed")
    return found


def _what_is_learned(into: ChatConversion) -> None:
    if into.take("train_on_prompt"):
        into.type("params.learn", "everything", "train_on_prompt")
    if into.take("mask_history"):
        into.type("params.learn", "last_answer", "mask_history")


def _preferences(into: ChatConversion) -> None:
    into.type_param("beta", "pref_beta", 0.1, "0.1")
    loss = into.take("pref_loss", "sigmoid")
    if loss in ("sigmoid", "ipo", "orpo"):
        into.type("params.loss", loss, "pref_loss")
    else:
        into.leave_out("pref_loss", loss, "there are sigmoid, ipo and orpo; sigmoid is what a run has")


def _adapter(into: ChatConversion, kind: str) -> None:
    rank, alpha = into.take("lora_rank", 8), into.take("lora_alpha")
    dropout, targets = into.take("lora_dropout", 0.0), into.take("lora_target", "all")
    if alpha is None and isinstance(rank, int):
        alpha = 2 * rank
    dora = into.take("use_dora")
    if kind == "lora":
        names = targets.split(",") if isinstance(targets, str) and targets != "all" else targets
        into.type_adapter(rank, alpha, dropout, names, "lora_rank")
        if dora:
            into.type("params.dora", True, "use_dora")
