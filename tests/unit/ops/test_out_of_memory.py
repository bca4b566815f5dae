"""What an attempt can redo in smaller pieces is what an end is said to be caused by: there is one table."""

from __future__ import annotations

import pytest

from nimble_lightning.adapters.out_of_memory import is_out_of_memory
from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.ops.failures import OUT_OF_DEVICE_MEMORY, OUT_OF_HOST_MEMORY
from nimble_lightning.runs.causes import cause_of


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        *((words, Cause.DEVICE_MEMORY) for words in OUT_OF_DEVICE_MEMORY),
        *((words, Cause.HOST_MEMORY) for words in OUT_OF_HOST_MEMORY),
    ],
)
def test_a_message_about_memory_is_one_to_the_step_and_to_the_supervisor(words: str, cause: Cause) -> None:
    error = RuntimeError(f"Failed: {words.upper()} (tried 2 GiB)")
    assert is_out_of_memory(error)
    assert cause_of(["RuntimeError", "Exception"], str(error)) == (cause, True)
