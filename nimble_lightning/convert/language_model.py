"""What all who fine-tune language models ask for: a model, data, how long texts may be, an adapter."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nimble_lightning.convert.conversion import Conversion
from nimble_lightning.convert.hf_arguments import convert_arguments

_FILES = (".jsonl", ".json", ".parquet")
# Of transformers, but for models that compute their own loss, and data that has columns.
_NOT_FOR_TEXTS = (
    "remove_unused_columns",
    "label_smoothing_factor",
    "group_by_length",
    "train_sampling_strategy",
)
_USUAL_TYPES = (None, "float32", "fp32", "f32", "float")


class ChatConversion(Conversion):
    """A command line for one of our language-model trainers.

    Args:
        source: Whose settings they were.
        task: "SFT", "DPO", "KTO" or "RewardModel".
        given: The fields that are there; those that are read are taken out.
    """

    def __init__(self, source: str, task: str, given: Mapping[str, Any]) -> None:
        super().__init__(source, {"trainer": f"nimble_lightning.llm:{task}"})
        self.task = task
        self.fields = dict(given)

    def take(self, name: str, usual: Any = None) -> Any:
        """The value of a field, or what it is where it is not given."""
        value = self.fields.pop(name, None)
        return usual if value is None else value

    def skip(self, names: Iterable[str]) -> None:
        """Fields that decide no figure."""
        for name in names:
            self.fields.pop(name, None)

    def leave_out_all(self, reasons: Mapping[str, str]) -> None:
        """Fields that are named where they ask for something."""
        for name, why in reasons.items():
            if value := self.fields.pop(name, None):
                self.leave_out(name, value, why)

    def type_param(self, key: str, name: str, usual: Any, ours: str) -> None:
        """Type a parameter of the trainer for a field that they have a default for."""
        given = self.fields.pop(name, None)
        if given is None:
            self.type_default(f"params.{key}", usual, name, usual, ours)
        else:
            self.type(f"params.{key}", given, name)

    def type_model(self, name: str) -> None:
        """Type which model."""
        if model := self.take(name):
            self.type("params.model", model, name)
        else:
            self.leave_out(name, None, "there is none; type params.model=NAME")

    def type_data(self, key: str, name: str, names: Sequence[str], split: str = "train") -> None:
        """Type files; of what is no file, how it becomes one."""
        paths = []
        for each in map(str, names):
            if each.endswith(_FILES) or each.startswith(("/", "./", "~")):
                paths.append(each)
                continue
            stem = re.sub(r"[^\w.-]+", "_", each.rpartition("/")[2])
            paths.append(f"{stem}.jsonl" if split == "train" else f"{stem}-{split}.jsonl")
            data_set, part, file = map(json.dumps, (each, split, paths[-1]))
            code = f"import datasets; datasets.load_dataset({data_set}, split={part}).to_json({file})"
            self.leave_out(name, each, f"a file is read; write it: python -c {shlex.quote(code)}")
        if paths:
            self.type(key, paths[0] if len(paths) == 1 else paths, name)
        else:
            self.leave_out(name, None, f"there is none; type {key}=FILE.jsonl")

    def type_lengths(self, longest: str, usual: int | None) -> None:
        """Type how long texts may be, and what becomes of longer ones."""
        if longest in self.fields and self.fields[longest] is None:
            self.leave_out(longest, None, "no limit; ours is params.longest, up to 2,048 unless it is typed")
            usual = None
        if self.fields.get(longest) is None and usual is None:
            self.skip([longest])
        else:
            self.type_param("longest", longest, usual, "up to 2048")
        if self.task == "SFT":
            self.type_default("params.over_length", "cut", longest, None, "few")

    def type_packing(self, packed: Any) -> None:
        """Type whether texts share rows; what a batch is depends on it."""
        if self.task != "SFT":
            what = "answers" if self.task == "KTO" else "pairs"
            self.leave_out(
                "per_device_train_batch_size",
                None,
                f"data.batch_size counts rows of params.longest tokens, each of as many {what} as fit",
            )
        elif packed:
            self.type("params.packing", True, "packing")
        else:
            self.type_default("params.packing", False, "packing", False, "true")

    def type_ratings(self, beta: str, good: str, bad: str) -> None:
        """Type what KTO weighs."""
        self.type_param("beta", beta, 0.1, "0.1")
        self.type_param("desirable_weight", good, 1.0, "1.0")
        self.type_param("undesirable_weight", bad, 1.0, "1.0")

    def type_adapter(self, rank: Any, alpha: Any, dropout: Any, targets: Any, name: str) -> None:
        """Type a LoRA adapter, whose targets are names, "all-linear", or the choice of PEFT."""
        self.type("params.rank", rank, name)
        self.type("params.alpha", alpha, "lora_alpha")
        self.type("params.dropout", dropout, "lora_dropout")
        if targets in ("all-linear", ["all-linear"], "all", ["all"]):
            return
        if targets:
            self.type("params.targets", targets, name)
        else:
            self.leave_out(
                "lora_target_modules", None, "PEFT's choice for the model; all linear layers are typed"
            )
            self.type("params.targets", "all-linear", name)

    def type_weights(self, name: str) -> None:
        """Type in which precision the weights themselves are."""
        kind = self.take(name)
        if kind in ("bfloat16", "bf16"):
            self.fields.pop("bf16", None)
            self.type("lightning.precision", "bf16-true", name)
            if "params.rank" in self.settings:
                self.leave_out(name, kind, "PEFT keeps an adapter in float32; bf16-true has it in half, too")
        elif kind not in _USUAL_TYPES:
            self.leave_out(name, kind, "weights are float32; lightning.precision=bf16-true has them in half")

    def type_arguments(self, usual: Mapping[str, Any], known: Iterable[str] = ()) -> None:
        """Type what is left, which are TrainingArguments."""
        for name in _NOT_FOR_TEXTS:
            if (value := self.fields.pop(name, None)) and name != "remove_unused_columns":
                self.leave_out(name, value, f"not of {self.settings['trainer']}")
        if self.task == "SFT" and (noise := self.take("neftune_noise_alpha")):
            self.type("params.neftune", noise, "neftune_noise_alpha")
        convert_arguments(self.fields, self, usual, known, off=("params.eval_share", "every 20th text"))
