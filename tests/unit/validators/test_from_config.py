"""From the configuration to a validator, before anything is started."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.settings import RunSettings
from nimble_lightning.validators import Baseline, NoValidator, Threshold
from nimble_lightning.validators.from_config import check, made_validator

OURS = "nimble_lightning.validators."


class Strict:
    """A user's own; it counts how often it is made."""

    made = 0

    def __init__(self, level: int) -> None:
        type(self).made += 1
        self.level = level

    def judge(self, run: Any) -> bool:
        return True


def asked(target: str, **arguments: Any) -> RunSettings:
    return RunSettings(validator={"_target_": target, **arguments})


def test_the_class_that_is_named_is_made_with_its_arguments() -> None:
    assert isinstance(made_validator(RunSettings()), NoValidator)
    assert isinstance(made_validator(asked(f"{OURS}NoValidator")), NoValidator)
    threshold = made_validator(asked(f"{OURS}Threshold", criteria=["a > 1", "b < 2"]))
    assert isinstance(threshold, Threshold)
    assert threshold.metrics == ("a", "b")
    baseline = made_validator(asked(f"{OURS}Baseline", reference="x", metric="a"))
    assert isinstance(baseline, Baseline)
    assert (baseline.reference, baseline.metrics) == (("x",), ("a",))
    assert made_validator(asked("test_from_config.Strict", level=3)).level == 3


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (asked(f"{OURS}Threshold"), "has no criteria"),
        (asked(f"{OURS}Threshold", criteria="a >"), "cannot be read at its end"),
        (asked(f"{OURS}Holdout", criteria="a > best_of(b)"), "not for held-out data"),
    ],
)
def test_what_is_ours_is_refused_before_the_run(request_: RunSettings, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        check(request_)


def test_a_class_of_the_users_is_not_made_by_the_process_that_supervises() -> None:
    before = Strict.made
    check(asked("test_from_config.Strict", level=1))
    assert Strict.made == before


def test_what_cannot_be_made_is_refused_in_one_line() -> None:
    for target, words in [("no.such.Thing", "no"), ("collections.Counter", "no method judge")]:
        with pytest.raises(RequestError, match=words) as refused:
            made_validator(asked(target))
        assert "\n" not in str(refused.value)


def test_looking_at_criteria_needs_no_torch() -> None:
    code = (
        "import sys; from nimble_lightning.validators.from_config import check;"
        "from nimble_lightning.settings import RunSettings;"
        f"[check(RunSettings(validator={{'_target_': '{OURS}' + n, **a}})) for n, a in "
        "[('Threshold', {'criteria': 'a > best_of(baseline)'}), ('Baseline', {})]];"
        "sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
