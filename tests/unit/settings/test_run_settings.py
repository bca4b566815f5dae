"""What was typed comes out of `RunSettings` as it was typed; what was left out is as shipped."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from nimble_lightning.cli.schema.check_config import check
from nimble_lightning.errors import RequestError
from nimble_lightning.settings import (
    LAUNCHERS,
    SECTIONS,
    External,
    Local,
    Multinode,
    Processes,
    RetrySettings,
    RunSettings,
    Trial,
    chosen_launch,
)

WORDS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
KINDS = {
    "Positive": st.integers(1, 2**40),
    "Natural": st.integers(0, 2**40),
    "bool": st.booleans(),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "str": WORDS,
    "Path": WORDS.map(lambda word: f"/folder/{word}.ckpt"),
    "Any": st.integers(),
}
# Described by their own classes, or made by others.
NOT_SIMPLE = {*SECTIONS, "launch", "callbacks", "logger", "optim", "schedule", "validator", "signature"}
SIMPLE = [f for f in fields(RunSettings) if f.name not in {*NOT_SIMPLE, "trial", "trainer", "lightning"}]


def values_of(annotation: ast.expr) -> st.SearchStrategy[Any]:
    """Values of a type, as it is written."""
    if isinstance(annotation, ast.BinOp):
        return values_of(annotation.left) | values_of(annotation.right)
    if isinstance(annotation, ast.Constant):
        return st.none()
    if isinstance(annotation, ast.Name):
        return KINDS[annotation.id]
    assert isinstance(annotation, ast.Subscript)
    inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    name = ast.unparse(annotation.value)
    if name == "Literal":
        return st.sampled_from([ast.literal_eval(choice) for choice in inner])
    if name == "Mapping":
        return st.dictionaries(WORDS, values_of(inner[1]), max_size=3)
    assert name == "Sequence"
    return st.lists(values_of(inner[0]), max_size=3)


def section_of(kind: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the settings of a class."""
    simple = SIMPLE if kind is RunSettings else fields(kind)
    given = {f.name: values_of(ast.parse(str(f.type), mode="eval").body) for f in simple}
    return st.fixed_dictionaries({}, optional=given)


@cache
def shipped(launch: str) -> Any:
    with initialize_config_module("nimble_lightning.conf", version_base="1.3"):
        return compose("config", overrides=[f"launch={launch}"])


def composed(typed: Mapping[str, Any], launch: str) -> dict[str, Any]:
    """A configuration in which something is typed, as it has passed the check of the command line."""
    config = shipped(launch).copy()
    for name, value in typed.items():
        if name in (*SECTIONS, "launch"):
            for key, inner in value.items():
                OmegaConf.update(config, f"{name}.{key}", inner, merge=False)
        else:
            OmegaConf.update(config, name, value, merge=False)
    check(config, [])
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


ASKED = st.fixed_dictionaries(
    {}, optional={name: section_of(kind) for name, kind in SECTIONS.items()}
) | section_of(RunSettings)


@settings(deadline=None, max_examples=40)
@given(
    launch=st.sampled_from([*LAUNCHERS]).flatmap(lambda n: st.tuples(st.just(n), section_of(LAUNCHERS[n]))),
    asked=ASKED,
)
def test_every_setting_gives_back_what_was_typed(
    launch: tuple[str, dict[str, Any]], asked: dict[str, Any]
) -> None:
    name, of_launch = launch
    made = RunSettings.from_config(composed({**asked, "launch": of_launch}, name))
    usual = RunSettings.from_config(composed({}, name))
    assert type(made.launch) is LAUNCHERS[name]
    for key, value in of_launch.items():
        assert getattr(made.launch, key) == value
    for key in (f.name for f in fields(RunSettings) if f.name not in ("launch", "callbacks")):
        if key in SECTIONS:
            section, expected = getattr(made, key), getattr(usual, key)
            for inner in (f.name for f in fields(section)):
                typed = asked.get(key, {}).get(inner, getattr(expected, inner))
                assert getattr(section, inner) == typed
        elif key in asked:
            typed = asked[key]
            is_path = key in ("resume", "output_dir") and typed not in ("auto", "never")
            assert getattr(made, key) == (Path(typed) if is_path else typed)


def test_what_is_left_out_is_as_shipped_and_what_is_not_known_is_not_read() -> None:
    assert RunSettings.from_config({}) == RunSettings(callbacks=RunSettings.from_config({}).callbacks)
    made = RunSettings.from_config({"data": {"batch_size": 7, "of_another_version": 1}, "of_another": 2})
    assert made.data.batch_size == 7
    assert made.data.shuffle


@pytest.mark.parametrize("key", ["params", "data", "log", "launch", "lightning", "callbacks", "resume"])
def test_null_for_a_section_is_nothing_in_it(key: str) -> None:
    assert getattr(RunSettings.from_config({key: None}), key) == getattr(RunSettings(), key)


def test_a_launcher_is_told_by_its_name() -> None:
    assert chosen_launch({"jobs": 3}) == Local(jobs=3)
    assert chosen_launch({"name": "multinode", "nnodes": "2:4"}) == Multinode(nnodes="2:4")
    assert chosen_launch({"name": "torchrun"}) == External()
    with pytest.raises(RequestError, match=r"There is no launch.name=slrum; there are local, inline"):
        chosen_launch({"name": "slrum"})


def test_of_callbacks_what_supervisors_know_has_a_type_and_the_rest_stays_a_mapping() -> None:
    block = {"_target_": "package.Retry", "max_retries": 2, "save_every_n_steps": 10}
    made = RunSettings.from_config({"callbacks": {"auto_retry": block, "notification": None}}).callbacks
    assert made.auto_retry == RetrySettings(max_retries=2)
    assert made.notification is made.usage_report is None
    assert made.block("auto_retry") == block
    assert made.block("non_finite") is None


def test_callbacks_may_be_a_list_of_which_nothing_is_known_by_name() -> None:
    blocks = [{"_target_": "package.Mine"}]
    made = RunSettings.from_config({"callbacks": blocks}).callbacks
    assert made.blocks == blocks
    assert made.block("auto_retry") is made.auto_retry is None


def test_formats_are_a_list_a_word_or_none() -> None:
    assert RunSettings.from_config({"export": ["safetensors", "onnx"]}).export == ["safetensors", "onnx"]
    assert RunSettings.from_config({"export": "onnx"}).export == ["onnx"]
    assert RunSettings.from_config({"export": None}).export is None


def test_a_run_is_signed_where_a_signature_is_chosen() -> None:
    chosen = {"_target_": "nimble_lightning.proof.Ed25519", "keep_stretches": 2}
    signed = RunSettings.from_config({"signature": chosen})
    assert (signed.signed, signed.stretches_kept) == (True, 2)
    for nothing in ({}, None, {"key": "k.pem"}):
        assert not RunSettings.from_config({"signature": nothing}).signed


@pytest.mark.parametrize(
    ("validator", "stretches"),
    [
        ({"_target_": "nimble_lightning.validators.Replay", "stretches": 3}, 3),
        ({"_target_": "nimble_lightning.validators.Threshold", "stretches": 3}, 0),
        ({"_target_": "nimble_lightning.validators.NoValidator"}, 0),
        (None, 0),
    ],
)
def test_only_the_validator_for_it_replays_stretches(validator: Any, stretches: int) -> None:
    assert RunSettings.from_config({"validator": validator}).stretches_replayed == stretches


def test_a_trial_is_there_for_a_member_of_a_search_only() -> None:
    where = {"storage": "sqlite:///study.db", "id": 3, "prunes": "val_loss"}
    assert RunSettings.from_config({"trial": where}).trial == Trial(**where)
    assert RunSettings.from_config({"trial": None}).trial is None


def test_the_processes_are_read_from_what_lightning_gets() -> None:
    asked = {"devices": 2, "precision": "bf16-mixed"}
    made = RunSettings.from_config({"lightning": asked})
    assert made.processes == Processes(devices=2)
    assert made.lightning == asked
