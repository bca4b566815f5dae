"""The nearest real name is found; nothing is invented where there is none."""

from __future__ import annotations

import pytest

from nimble_lightning.cli.suggestions import names_of, nearest, nearest_key, unknown_key

KNOWN = [
    "optim",
    "optim.lr",
    "data",
    "data.batch_size",
    "lightning",
    "lightning.max_epochs",
    "callbacks",
    "callbacks.auto_retry",
    "callbacks.auto_retry.max_retries",
    "params",
    "params.lr",
    "trainer",
]
GROUPS = {"optim": ["adamw", "sgd"], "schedule": ["cosine"]}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("optim.lrr", "optim.lr"),
        ("optm.lr", "optim.lr"),
        ("optm.lrr", "optim.lr"),
        ("data.batchsize", "data.batch_size"),
        ("lightning.max_epoch", "lightning.max_epochs"),
        ("max_epochs", "lightning.max_epochs"),
        ("max_epoch", "lightning.max_epochs"),
        ("trainer.max_epochs", "lightning.max_epochs"),
        ("callback.auto_retry", "callbacks.auto_retry"),
        ("callbacks.autoretry.max_retries", "callbacks.auto_retry.max_retries"),
        ("Data.Batch_Size", "data.batch_size"),
        ("lr", "params.lr"),
        ("zebra", None),
        ("zebra.stripes", None),
    ],
)
def test_the_nearest_key_is_found_part_by_part_then_anywhere(typed: str, meant: str | None) -> None:
    assert nearest_key(typed, KNOWN) == meant


def test_a_near_miss_is_never_told_to_add_a_key() -> None:
    assert unknown_key("lightning.max_epoch", "3", KNOWN, GROUPS) == (
        "There is no lightning.max_epoch; did you mean lightning.max_epochs?"
    )


def test_a_group_almost_right_keeps_the_choice() -> None:
    assert unknown_key("optm", "sdg", KNOWN, GROUPS).endswith("did you mean optim=sgd?")
    assert unknown_key("shedule", "cosine", KNOWN, GROUPS).endswith("did you mean schedule=cosine?")


def test_only_what_is_near_nothing_is_told_how_to_be_added() -> None:
    assert "+zebra=1" in unknown_key("zebra", "1", KNOWN, GROUPS)
    assert "+" not in unknown_key("data.zebra", "1", KNOWN, GROUPS, closed={"data"})


def test_the_case_of_a_word_does_not_matter() -> None:
    assert nearest("gpu_info", ["GPU_info", "notification"]) == "GPU_info"
    assert nearest("zzz", ["GPU_info"]) is None


def test_all_names_of_a_configuration_are_listed() -> None:
    assert names_of({"a": {"b": 1, "c": {}}, "d": None}) == ["a", "a.b", "a.c", "d"]
