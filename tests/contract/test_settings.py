"""The classes of settings say what the shipped configuration says: the same keys, the same defaults."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import MISSING, fields
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

import nimble_lightning
from nimble_lightning.cli import help_text
from nimble_lightning.cli.schema.parameters import of_target
from nimble_lightning.cli.schema.sections import NAMES, TOP, signature_of
from nimble_lightning.export.formats import ExportFormat
from nimble_lightning.settings import LAUNCHERS, SECTIONS, CallbackSettings, Launch, RunSettings
from nimble_lightning.settings.callbacks import (
    HubPushSettings,
    NotificationSettings,
    RetrySettings,
    UsageSettings,
)

CONF = Path(__file__).parents[2] / "conf"
PACKAGE = Path(nimble_lightning.__file__).parent
# Groups: what is chosen of them is the default.
CHOSEN = {"callbacks", "launch", "logger", "optim", "schedule", "signature", "validator"}
# Goes to Lightning as it stands; a default is a default of Lightning's.
OPEN = {"lightning"}
HELPED = ("data.batch_size", "data.micro_batch_size", "clip.norm", "monitor", "run_id")
# Who takes a configuration for what it says, rather than for how a run is to go.
DOCUMENTS = {
    # What a run, a rank or a machine was asked for, against another.
    "runs/request/rerun.py",
    "worker/throughput.py",
    "launch/external/other_ranks.py",
    "launch/multinode/assembly.py",
    # Which keys were asked for and would change nothing.
    "worker/training.py",
    # Whether it holds a secret itself; what is signed, told of, or handed to a validator of the user's.
    "runs/signature.py",
    "runs/completion/exports.py",
    "worker/export_best.py",
    "worker/validation.py",
    # Of a folder that nobody vouches for.
    "runs/trust.py",
    "commands/notify.py",
    "runs/job.py",
}
CALLBACKS = {
    "auto_retry": RetrySettings,
    "hub_push": HubPushSettings,
    "notification": NotificationSettings,
    "usage_report": UsageSettings,
}


@cache
def shipped() -> dict[str, Any]:
    with initialize_config_module("nimble_lightning.conf", version_base="1.3"):
        return OmegaConf.to_container(compose("config"), resolve=True)  # type: ignore[return-value]


def file_of(group: str, choice: str) -> dict[str, Any]:
    content = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text(encoding="utf-8"))
    return dict(content.get(choice, content) if group == "callbacks" else content)


def defaults_of(kind: type[Any]) -> dict[str, Any]:
    made = {f.name: f.default_factory() for f in fields(kind) if f.default_factory is not MISSING}
    plain = {f.name: f.default for f in fields(kind) if f.default is not MISSING}
    return {name: _as_yaml(value) for name, value in {**plain, **made}.items()}


def _as_yaml(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


def test_every_key_has_a_field_and_every_field_a_key() -> None:
    assert {f.name for f in fields(RunSettings)} == set(shipped())


@pytest.mark.parametrize("key", sorted({f.name for f in fields(RunSettings)} - {*SECTIONS} - CHOSEN - OPEN))
def test_a_setting_has_the_default_that_is_shipped(key: str) -> None:
    assert defaults_of(RunSettings)[key] == shipped()[key]


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_has_the_keys_and_defaults_that_are_shipped(section: str) -> None:
    assert defaults_of(SECTIONS[section]) == shipped()[section]
    assert defaults_of(RunSettings)[section] == SECTIONS[section]()


@pytest.mark.parametrize("choice", sorted(path.stem for path in (CONF / "launch").glob("*.yaml")))
def test_a_launcher_has_the_keys_and_defaults_of_its_file(choice: str) -> None:
    file = file_of("launch", choice)
    assert defaults_of(LAUNCHERS[file["name"]]) == file


def test_there_is_a_file_for_each_launcher_and_the_union_has_them_all() -> None:
    assert {path.stem for path in (CONF / "launch").glob("*.yaml")} == {*LAUNCHERS}
    assert {*LAUNCHERS.values()} == {*Launch.__args__}
    assert RunSettings().launch == RunSettings.from_config(shipped()).launch


@pytest.mark.parametrize("name", CALLBACKS)
def test_what_supervisors_know_of_a_callback_it_takes_with_the_same_default(name: str) -> None:
    file = file_of("callbacks", name)
    signature = of_target(file["_target_"])
    assert signature is not None
    of_the_class = {name: p.default for name, p in signature.parameters.items()}
    for key, default in defaults_of(CALLBACKS[name]).items():
        assert ast.literal_eval(of_the_class[key] or "") == default
        if not isinstance(file[key], dict):
            assert file[key] == default


def test_the_formats_of_exports_are_those_there_are() -> None:
    (formats,) = (f.type for f in fields(RunSettings) if f.name == "export")
    assert f"Literal{[str(each) for each in ExportFormat]}" in str(formats)


def test_each_part_of_the_callbacks_is_one_of_theirs() -> None:
    assert {f.name for f in fields(CallbackSettings)} - {"blocks"} == {*CALLBACKS}


def test_the_command_line_checks_all_of_them() -> None:
    assert set(signature_of(TOP).parameters) == set(shipped())
    for section in SECTIONS:
        assert set(signature_of(section).parameters) == set(shipped()[section])
    of_files = {key for choice in LAUNCHERS for key in file_of("launch", choice)}
    assert set(signature_of("launch").parameters) == of_files
    assert set(NAMES) == {TOP, "launch", *SECTIONS}


def test_everybody_else_reads_settings_by_their_types() -> None:
    of_a_job = re.compile(r"\bjob\.config\b|\.(un)?resolved\(\)")
    found = {path for path in PACKAGE.rglob("*.py") if of_a_job.search(path.read_text(encoding="utf-8"))}
    assert {str(path.relative_to(PACKAGE)) for path in found} == DOCUMENTS


def docs_of(kind: type[Any]) -> dict[str, str]:
    """What stands under each field."""
    (tree,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef)
    return {
        ast.unparse(above.target): ast.literal_eval(below.value)
        for above, below in pairwise(tree.body)
        if isinstance(above, ast.AnnAssign) and isinstance(below, ast.Expr)
    }


@pytest.mark.parametrize(
    "key", ["data.batch_size", "data.micro_batch_size", "clip.norm", "monitor", "run_id"]
)
def test_the_help_says_of_a_setting_what_its_class_says(key: str) -> None:
    found = re.search(rf"^  {key}=.*? {{2,}}(\S.*)$", help_text._KEYS, re.MULTILINE)
    assert found is not None
    section, _, name = key.rpartition(".")
    assert docs_of(SECTIONS[section] if section else RunSettings)[name].lower().startswith(found[1])


@pytest.mark.parametrize("kind", [RunSettings, *SECTIONS.values(), *LAUNCHERS.values(), *CALLBACKS.values()])
def test_settings_cannot_be_changed_and_are_given_by_name(kind: type[Any]) -> None:
    assert kind.__dataclass_params__.frozen
    assert all(f.kw_only for f in fields(kind))
