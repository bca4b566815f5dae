"""The YAML of a LightningCLI, or what a Lightning project with Hydra composes, as `trainer=` and the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nimble_lightning.cli.schema.lightning_arguments import ELSEWHERE
from nimble_lightning.convert.conversion import Conversion, text_of

_SUBCOMMANDS = ("fit", "validate", "test", "predict")
# Whose loggers are ours by another name, where nothing but a folder was asked of them.
_LOGGERS = {
    "CSVLogger": "csv",
    "TensorBoardLogger": "tensorboard",
    "WandbLogger": "wandb",
    "MLFlowLogger": "mlflow",
}
_OF_THE_RUN = {
    "ckpt_path": "a run with run_id=NAME goes on by itself; resume=FILE begins from another checkpoint",
    "optimizer": "the module's configure_optimizers decides; put it there",
    "lr_scheduler": "the module's configure_optimizers decides; put it there",
    "verbose": None,
    "ignore_warnings": None,
    "extras": None,
    "paths": None,
    "hydra": None,
    "task_name": None,
    "tags": None,
    "train": None,
    "test": "the best weights are evaluated at the end by themselves; nimble-cli evaluate RUN does it later",
}
# Lightning trains so long where nobody says.
_EPOCHS = 1000


def is_lightning_project(given: Mapping[str, Any]) -> bool:
    """Whether it has the sections that LightningCLI and lightning-hydra-template have."""
    sections = _unwrapped(given)
    parts = [sections.get(name) for name in ("model", "data", "trainer")]
    described = any(_class_of(part) for part in parts[:2])
    return isinstance(parts[2], Mapping) and (described or "seed_everything" in sections)


def convert_lightning_project(given: Mapping[str, Any]) -> Conversion:
    """The command line that trains the same module on the same data, under our engine."""
    into = _ProjectConversion()
    fields = _unwrapped(given)
    into.type_object("trainer", "model", fields.pop("model", None), "my_module.py:Model")
    into.type_object("datamodule", "data", fields.pop("data", None), None)
    trainer = dict(fields.pop("trainer", None) or {})
    into.type_callbacks([*_entries(trainer.pop("callbacks", None)), *_entries(fields.pop("callbacks", None))])
    into.type_loggers([*_entries(trainer.pop("logger", None)), *_entries(fields.pop("logger", None))])
    into.type_trainer(trainer)
    into.type_seed({name: fields.pop(name) for name in ("seed_everything", "seed") if name in fields})
    for name, value in fields.items():
        why = _OF_THE_RUN.get(name, "nothing here reads it")
        if why is not None and value is not None:
            into.leave_out(name, value, why)
    return into


class _ProjectConversion(Conversion):
    def __init__(self) -> None:
        super().__init__("a Lightning project")

    def type_object(self, key: str, section: str, value: Any, stand_in: str | None) -> None:
        """Name a module or its data, and type what their `__init__` is given."""
        name = _class_of(value)
        if name is None and value is not None or name is None and stand_in:
            self.settings[key] = stand_in or "my_data.py:Data"
            self.leave_out(section, None, f"its class is named in a script: type {key}=FILE.py:CLASS")
        elif name is not None:
            self.settings[key] = ":".join(name.rpartition(".")[::2])
            self.code.append(name)
        for argument, given in _arguments_of(value).items():
            self._type_param(argument, _as_target(given), f"{section}.{argument}")

    def _type_param(self, argument: str, value: Any, name: str) -> None:
        key = f"params.{argument}"
        before = self.settings.get(key)
        self.type_described(key, value, name)
        if before is not None and before != self.settings.get(key):
            self.leave_out(name, value, f"the model has a parameter of that name, which is {before}")
            self.settings[key] = before

    def type_described(self, key: str, value: Any, name: str) -> None:
        """Type a setting that may describe an object: code is what such a file is there to name."""
        plain, code = _parted(value)
        self.type(key, plain, name)
        if key in self.settings:
            self.settings[key] = text_of(value)
            self.code += code

    def type_callbacks(self, entries: list[tuple[str, Any]]) -> None:
        for name, entry in entries:
            if _class_of(entry) is None:
                self.leave_out(f"callbacks.{name}", entry, "it does not say what it is")
            elif _short_name(entry).endswith("ProgressBar"):
                self.leave_out(f"callbacks.{name}", None, "there is one bar, callbacks.progress")
            else:
                self.type_described(f"+callbacks.{name}", _as_target(entry), f"callbacks.{name}")

    def type_loggers(self, entries: list[tuple[str, Any]]) -> None:
        known = ["jsonl"]
        for name, entry in entries:
            if _class_of(entry) is None:
                why = "the figures of a run are in its folder; logger=NAME adds one"
                self.leave_out(f"logger.{name}", entry, why)
            elif short := _LOGGERS.get(_short_name(entry)):
                known.append(short)
                given = {k: v for k, v in _arguments_of(entry).items() if v is not None and k != "save_dir"}
                if given:
                    self.leave_out(
                        f"logger.{name}", given, f"type logger.{short}.ARGUMENT=VALUE where it matters"
                    )
            else:
                self.type_described(f"+logger.{name}", _as_target(entry), f"logger.{name}")
        if known[1:]:
            self.type("logger", known, "logger")

    def type_trainer(self, fields: dict[str, Any]) -> None:
        fields.pop("_target_", None)
        for name, why in ELSEWHERE.items():
            if (value := fields.pop(name, None)) is not None:
                self.leave_out(f"trainer.{name}", value, why)
        epochs, steps = fields.pop("max_epochs", None), fields.pop("max_steps", None)
        if epochs is not None:
            self.type("lightning.max_epochs", epochs, "trainer.max_epochs")
        if steps not in (None, -1):
            self.type("lightning.max_steps", steps, "trainer.max_steps")
        elif epochs is None and fields.get("max_time") is None:
            self.type_default("lightning.max_epochs", _EPOCHS, "trainer.max_epochs", "none", "10")
        for name, value in fields.items():
            if value is not None:
                self.type_described(f"lightning.{name}", _as_target(value), f"trainer.{name}")

    def type_seed(self, given: dict[str, Any]) -> None:
        for name, value in given.items():
            if isinstance(value, int) and not isinstance(value, bool):
                self.type("seed", value, name)
            elif value:
                self.leave_out(name, value, "any number: seed=0 unless you type another")


def _unwrapped(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of training, where a file has a section for each command."""
    found = dict(given)
    for name in _SUBCOMMANDS:
        section = found.pop(name, None) if isinstance(found.get(name), Mapping) else None
        if name == "fit" and section is not None:
            found |= section
    return found


def _class_of(value: Any) -> str | None:
    """The dotted name of what a mapping describes, in either way of writing it."""
    named = (value.get("class_path") or value.get("_target_")) if isinstance(value, Mapping) else value
    return named if isinstance(named, str) and "." in named else None


def _short_name(value: Any) -> str:
    return (_class_of(value) or "").rpartition(".")[2]


def _arguments_of(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {}
    if "class_path" in value:
        return {**(value.get("init_args") or {}), **(value.get("dict_kwargs") or {})}
    return {
        name: each for name, each in value.items() if name not in ("_target_", "_convert_", "_recursive_")
    }


def _as_target(value: Any) -> Any:
    """The same in the way of Hydra. An optimizer without its weights can only be meant to be called later."""
    if isinstance(value, list):
        return [_as_target(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    inner = {name: _as_target(each) for name, each in _arguments_of(value).items()}
    name = _class_of(value)
    if name is None:
        return inner
    later = {"_partial_": True} if name.startswith("torch.optim.") else {}
    return {"_target_": name, **later, **inner}


def _parted(value: Any) -> tuple[Any, list[str]]:
    """A setting without what it describes, and the names of that."""
    if isinstance(value, list):
        parts = [_parted(each) for each in value]
        return [plain for plain, _ in parts], [name for _, names in parts for name in names]
    if not isinstance(value, Mapping):
        return value, []
    found = {name: _parted(each) for name, each in value.items() if name not in ("_target_", "_partial_")}
    own = [value["_target_"]] if "_target_" in value else []
    return {k: plain for k, (plain, _) in found.items()}, [
        *own,
        *(n for _, names in found.values() for n in names),
    ]


def _entries(value: Any) -> list[tuple[str, Any]]:
    """Callbacks or loggers by name: of a list, one, or a mapping of them."""
    if value is None:
        return []
    if isinstance(value, Mapping) and _class_of(value) is None:
        return [(str(name), each) for name, each in value.items() if each is not None]
    found: list[tuple[str, Any]] = []
    for each in value if isinstance(value, list) else [value]:
        words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", _short_name(each))
        found.append((words.lower() or "unnamed", each))
    return found
