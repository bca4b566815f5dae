"""What a validator may answer, and how it lies in the record."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from nimble_lightning.errors import TrainerError
from nimble_lightning.validators.verdict import Check, Verdict, as_verdict


@pytest.mark.parametrize(
    ("answer", "passed", "summary"),
    [
        (True, True, "Mine is satisfied"),
        (False, False, "Mine is not satisfied"),
        (np.bool_(True), True, "Mine is satisfied"),
        (torch.tensor(False), False, "Mine is not satisfied"),
        ((False, "too slow"), False, "too slow"),
        ((np.float64(2) > 1, "fine"), True, "fine"),
        (Verdict(None, "not asked"), None, "not asked"),
    ],
)
def test_an_answer_is_a_verdict(answer: Any, passed: bool | None, summary: str) -> None:
    verdict = as_verdict(answer, "Mine")
    assert verdict.passed is passed
    assert verdict.summary == summary


@pytest.mark.parametrize(
    "answer", [None, 1, 0.5, "yes", (True, "a", "b"), (), ("no",), np.array([True, False])]
)
def test_what_is_no_answer_is_refused(answer: Any) -> None:
    with pytest.raises(TrainerError, match=r"Mine\.judge returned"):
        as_verdict(answer, "Mine")


def test_the_record_of_a_verdict_is_json_that_every_reader_knows() -> None:
    check = Check("a > 1", False, float("nan"), 1.0)
    facts = {"sizes": {1: (2, float("inf"))}}
    content = Verdict(False, "missed a > 1", (check,), facts, "Threshold").to_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == {
        "passed": False,
        "summary": "missed a > 1",
        "validator": "Threshold",
        "criteria": [{"text": "a > 1", "passed": False, "value": None, "limit": 1.0}],
        "sizes": {"1": [2, None]},
    }
