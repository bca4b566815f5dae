"""What differs between two requests for a run, by what is meant rather than by what is written."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from nimble_lightning.report import shipped_defaults
from nimble_lightning.runs.request.setting_changes import Change, changes


def asked(**more: Any) -> DictConfig:
    base = {
        **shipped_defaults.defaults(),
        "trainer": "/a/mine.py:Mine",
        "params": {"lr": 0.1},
        "callbacks": {},
    }
    base["callbacks"] = {
        name: shipped_defaults.block("callbacks", name)["callbacks"][name]
        for name in ("best_checkpoint", "auto_retry")
    }
    return OmegaConf.create(shipped_defaults.merged(base, more))


def found(then: DictConfig, now: DictConfig, usual: dict[str, Any] | None = None) -> dict[str, str]:
    return {change.key: change.kind for change in changes(then, now, usual or {})}


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"params": {"lr": 0.2}}, "another"),
        ({"seed": 1}, "another"),
        ({"data": {"batch_size": 4}}, "another"),
        ({"clip": {"norm": 1.0}}, "another"),
        ({"monitor": "accuracy"}, "another"),
        ({"model": {"compile": True}}, "another"),
        ({"lightning": {"precision": "bf16-mixed"}}, "another"),
        ({"lightning": {"accumulate_grad_batches": 2}}, "another"),
        ({"lightning": {"limit_val_batches": 2}}, "another"),
        ({"lightning": {"no_such_thing_yet": 2}}, "another"),
        ({"callbacks": {"ema": {"_target_": "a.EMA"}}}, "another"),
        ({"callbacks": {"best_checkpoint": {"save_top_k": 2}}}, "another"),
        ({"lightning": {"max_epochs": 20}}, "length"),
        ({"lightning": {"max_time": "00:01:00:00"}}, "length"),
        ({"callbacks": {"early_stopping": {"_target_": "a.EarlyStopping"}}}, "length"),
        ({"validator": {"_target_": "a.Threshold"}}, "afterwards"),
        ({"signature": {"_target_": "a.Ed25519"}}, "afterwards"),
        ({"export": ["safetensors", "onnx"]}, "afterwards"),
        ({"report": 60}, "afterwards"),
        ({"report": False}, "unseen"),
        ({"callbacks": {"usage_report": {"_target_": "a.UsageReport"}}}, "unseen"),
        ({"data": {"num_workers": 2}}, "onward"),
        ({"lightning": {"devices": 2}}, "onward"),
        ({"callbacks": {"mine": {"_target_": "a.Mine"}}}, "onward"),
        ({"callbacks": {"auto_retry": {"max_retries": 1}}}, "unseen"),
        ({"logger": {"csv": {"_target_": "a.CSV"}}}, "unseen"),
        ({"launch": {"name": "inline"}}, "unseen"),
        ({"log": {"terminal": False}}, "unseen"),
    ],
)
def test_a_difference_is_known_by_what_it_comes_to(more: dict[str, Any], kind: str) -> None:
    assert set(found(asked(), asked(**more)).values()) == {kind}


def test_it_is_told_with_both_values_and_without_what_a_reference_stands_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATA", "canary")
    then, now = asked(params={"data": "here"}), asked(params={"data": "${oc.env:DATA}"})
    (change,) = changes(then, now, {})
    assert str(change) == "params.data: here then, '${oc.env:DATA}' now"
    assert str(
        Change("optim", {"_target_": "torch.optim.AdamW", "lr": 1}, {"_target_": "torch.optim.SGD"})
    ) == ("optim: AdamW then, SGD now")


def test_a_setting_that_only_one_side_has_is_what_it_is_by_itself() -> None:
    now = asked()
    older = asked()
    for section, key in (("data", "pin_memory"), ("clip", "value"), ("optim", "fused"), ("show", "keep")):
        del older[section][key]
    del older["checkpoints"], older["callbacks"]["best_checkpoint"]["dirpath"]
    assert found(older, now) == {} == found(now, older)
    now.clip.value = 1.0
    assert found(older, now) == {"clip.value": "another"}


def test_a_parameter_that_is_not_given_is_the_trainers_default() -> None:
    assert found(asked(params={"hidden": 64}), asked(), {"hidden": 64}) == {}
    assert found(asked(params={"hidden": 32}), asked(), {"hidden": 64}) == {"params.hidden": "another"}


def test_one_value_written_in_two_ways_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE", "0.1")
    reference = asked(params={"lr": "${oc.decode:${oc.env:RATE}}"})
    assert found(asked(), reference) == {}
    assert found(asked(), asked(trainer="/a/mine.py")) == {}
    assert found(asked(), asked(trainer="/a/mine.py:Other")) == {"trainer": "another"}
    monkeypatch.delenv("RATE")
    assert found(asked(), reference) == {"params.lr": "another"}


def test_a_run_on_some_devices_is_what_is_asked_for_by_auto() -> None:
    assert found(asked(lightning={"devices": 2, "accelerator": "cpu"}), asked()) == {}


def test_a_callback_that_a_newer_version_has_on_by_itself_is_no_difference() -> None:
    older, now = asked(), asked(callbacks=shipped_defaults.block("callbacks", "progress")["callbacks"])
    assert found(older, now) == {}
    del older["callbacks"]["best_checkpoint"]
    assert found(older, now) == {"callbacks.best_checkpoint": "another"}


def test_a_class_of_ours_that_has_moved_is_still_the_same() -> None:
    stops = {"monitor": None, "patience": 3}
    then = asked(
        callbacks={"early_stopping": {"_target_": "lightning.pytorch.callbacks.EarlyStopping", **stops}}
    )
    now = asked(
        callbacks={"early_stopping": {"_target_": "nimble_lightning.callbacks.EarlyStopping", **stops}}
    )
    assert found(then, now) == {}
    assert found(asked(optim={"_target_": "mine.AdamW"}), asked()) == {"optim": "another"}
