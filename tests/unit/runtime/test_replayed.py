"""Which runs are trained again when they have ended."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from nimble_lightning.errors import RequestError
from nimble_lightning.runtime.job import stretches_wanted
from nimble_lightning.validators import Replay


def wanted(validator: Any) -> int:
    return stretches_wanted(OmegaConf.create({"validator": validator}))


def test_only_the_validator_for_it_asks_for_stretches() -> None:
    ours = "nimble_lightning.validators."
    assert wanted({"_target_": f"{ours}Replay", "stretches": 3}) == 3
    assert wanted({"_target_": f"{ours}Threshold", "stretches": 3}) == 0
    assert wanted({"_target_": f"{ours}NoValidator"}) == 0
    assert wanted(None) == 0


def test_none_is_no_number_of_stretches() -> None:
    with pytest.raises(RequestError, match="at least 1"):
        Replay(stretches=0)
