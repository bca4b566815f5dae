"""An exception as plain facts."""

from __future__ import annotations

import gc
import json
import weakref

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
