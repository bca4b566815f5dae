"""`nimble-cli convert FILE`: settings of other programs as a command line of ours."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nimble_lightning.api.hf.training_arguments import FIELDS
from nimble_lightning.commands.argument_parser import Parser
from nimble_lightning.convert.asked_fields import RENAMED
from nimble_lightning.convert.conversion import Conversion
from nimble_lightning.convert.hf_arguments import convert_arguments
from nimble_lightning.convert.lightning_project import (
    convert_lightning_project,
    is_lightning_project,
)
from nimble_lightning.convert.llama_factory import convert_llama_factory, is_llama_factory
from nimble_lightning.convert.oumi import convert_oumi, is_oumi
from nimble_lightning.convert.trl import TASKS, convert_trl, is_trl
from nimble_lightning.errors import RequestError
from nimble_lightning.ops import plain_files, yaml_files
from nimble_lightning.ops.exit_codes import ExitCode

# A zip file, as torch.save writes, and the pickles of before.
_PICKLES = (b"PK\x03\x04", b"\x80")
_PRINT = "print(args.to_json_string())"


def main(words: list[str]) -> int:
    """Convert; returns the exit code."""
    parser = Parser("convert", "Turn settings of other programs into a command line of ours.")
    parser.add_argument(
        "file", metavar="FILE", help="of TrainingArguments, TRL, Oumi, LLaMA-Factory or LightningCLI"
    )
    parser.add_argument(
        "--task", choices=TASKS, metavar="|".join(TASKS), help="where a YAML of TRL fits several"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    asked = parser.read(words)
    found = convert(read(Path(asked.file)), asked.task)
    print(json.dumps(found.as_data(), indent=2) if asked.json else "\n".join(found.lines()))
    return ExitCode.FINISHED


def convert(given: Mapping[str, Any], task: str | None = None) -> Conversion:
    """The command line for settings whose kind their names tell.

    Args:
        given: The settings.
        task: "sft", "dpo", "kto" or "reward", for a YAML that does not say.

    Raises:
        RequestError: They are of no kind that is known.
    """
    if "log_history" in given:
        raise RequestError(
            "This is a trainer_state.json: how a run went, without its learning rate or seed.\n"
            f"Its arguments are converted: have the script {_PRINT}, into a file"
        )
    if isinstance(given.get("defaults"), list):
        raise RequestError(
            "This is one of several files that Hydra composes. What they come to is converted:\n"
            "python train.py --cfg job --resolve > composed.yaml"
        )
    if is_trl(given) and not is_llama_factory(given):
        return convert_trl(given, task)
    if task is not None:
        raise RequestError("--task is for a YAML of TRL; this file says itself what it is for")
    if is_lightning_project(given):
        return convert_lightning_project(given)
    if is_oumi(given):
        return convert_oumi(given)
    if is_llama_factory(given):
        return convert_llama_factory(given)
    if not any(RENAMED.get(name, name) in FIELDS for name in given):
        named = ", ".join(list(map(str, given))[:5]) or "nothing"
        raise RequestError(
            "Expected fields of TrainingArguments, such as learning_rate, or a YAML of TRL, Oumi, "
            f"LLaMA-Factory or LightningCLI; there is {named}"
        )
    found = Conversion("TrainingArguments of transformers", {"trainer": "my_trainer.py"})
    found.leave_out("trainer", None, "my_trainer.py stands for the file of your NimbleTrainer")
    convert_arguments(given, found)
    return found


def read(path: Path) -> Mapping[str, Any]:
    """The settings in a file; nothing in it is run.

    Raises:
        RequestError: It cannot be read, or holds something else.
    """
    try:
        content = plain_files.read(path.parent, path.name)
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror or error}") from None
    if content.startswith(_PICKLES):
        raise RequestError(
            f"{path} is a pickle, and reading one runs code. Where you trust it, write it as JSON:\n"
            f"python -c \"import torch; args = torch.load('{path.name}', weights_only=False); {_PRINT}\""
        )
    try:
        text = content.decode("utf-8-sig")
        found = json.loads(text) if text.lstrip().startswith("{") else yaml_files.load(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path} is neither JSON nor YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        hint = f"; of a script, the output of {_PRINT}" if path.suffix == os.extsep + "py" else ""
        raise RequestError(f"{path}: expected settings by name, in JSON or YAML{hint}")
    return {str(name): value for name, value in found.items()}
