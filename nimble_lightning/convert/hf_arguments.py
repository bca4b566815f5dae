"""TrainingArguments of transformers, from a dict of its fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nimble_lightning.api.hf.training_arguments import FIELDS
from nimble_lightning.convert.asked_fields import DEFAULTS, RENAMED, AskedFields
from nimble_lightning.convert.conversion import Conversion
from nimble_lightning.convert.hf_figures import FIGURES
from nimble_lightning.convert.hf_surroundings import SURROUNDINGS

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


def convert_arguments(
    given: Mapping[str, Any],
    into: Conversion,
    usual: Mapping[str, Any] | None = None,
    known: Iterable[str] = (),
    off: tuple[str, str] = ("lightning.limit_val_batches", "each epoch, where there is data for it"),
) -> None:
    """Type what the fields ask for.

    Args:
        given: The fields that are there.
        into: The command line so far.
        usual: Defaults of a program that has others than transformers.
        known: Fields of that program, which might have been meant by one that nobody knows.
        off: The setting that is zero where nothing is evaluated, and what is otherwise.
    """
    fields = {RENAMED.get(name, name): value for name, value in given.items()}
    defaults = {**DEFAULTS, **(usual or {})}
    asked = AskedFields({**defaults, **fields}, defaults, into, off)
    for convert in (*FIGURES, *SURROUNDINGS):
        convert(asked)
    for name, value in fields.items():
        if name in asked.done or name in _WITHOUT_EFFECT or name[:1] == "_":
            continue
        if name not in FIELDS:
            into.leave_out_unknown(name, value, (*FIELDS, *_HERE_BEFORE, *known))
        elif not asked.is_default(name):
            _convert_alone(name, value, into)


def _convert_alone(name: str, value: Any, into: Conversion) -> None:
    """A field that is a setting of ours by itself, as the table says."""
    setting, note = FIELDS[name].setting, FIELDS[name].note
    if setting == "" and value and ("always" in note or FIELDS[name].does == "always"):
        return
    if not setting or "=" not in setting or value is False and "{}" not in setting:
        why = f"of ours, {setting}; {note}".removesuffix("; ") if setting else note
        into.leave_out(name, value, why or "there is no such setting")
        return
    for part in setting.split():
        key, _, pattern = part.partition("=")
        if pattern == "{}":
            into.type(key, value, name)
        else:
            into.settings[key] = pattern
