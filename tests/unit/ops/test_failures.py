"""An exception as plain facts."""

from __future__ import annotations

import gc
import json
import weakref

import pytest

from nimble_lightning.ops.failures import facts_of


class Big:
    """Something that must not be kept alive by an error."""


def test_the_facts_can_be_written_down_and_name_what_is_needed() -> None:
    try:
        raise ConnectionResetError("gone")
    except ConnectionResetError as error:
        facts = json.loads(json.dumps(facts_of(error, rank=3, step=7)))
    assert (facts["type"], facts["message"], facts["rank"], facts["step"]) == (
        "ConnectionResetError",
        "gone",
        3,
        7,
    )
    assert {"ConnectionError", "OSError"} <= set(facts["bases"])
    assert "test_failures.py" in facts["traceback"]


def test_they_keep_nothing_alive() -> None:
    def fail() -> tuple[dict[str, object], weakref.ref[Big]]:
        big = Big()
        try:
            raise ValueError("bad")
        except ValueError as error:
            return facts_of(error, 0, None), weakref.ref(big)

    facts, big = fail()
    gc.collect()
    assert facts
    assert big() is None


def test_an_error_of_any_length_leaves_a_few_pages_with_its_beginning_and_its_end() -> None:
    facts = facts_of(ValueError(f"began {'x' * 4_000_000} ended"), rank=0, step=3)
    assert len(json.dumps(facts)) < 30_000
    for text in (facts["message"], facts["traceback"]):
        assert "characters left out" in text
        assert text.rstrip().endswith("x ended")
    assert facts["message"].startswith("began x")


@pytest.mark.parametrize("before", range(1950, 2050, 7))
def test_no_part_of_a_secret_is_left_where_a_text_is_cut(
    before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "canary-4711-0815-canary")
    text = "x" * before + "canary-4711-0815-canary" + "x" * 10_000
    facts = facts_of(ValueError(text), rank=0, step=None)
    assert not any(part in json.dumps(facts) for part in ("canary", "4711", "0815"))
