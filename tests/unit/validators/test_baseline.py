"""What a comparison says is about the gain, whichever way is better."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from nimble_lightning.ops.objective import Objective
from nimble_lightning.validators import Baseline
from nimble_lightning.validators.measurement import Measured


@pytest.mark.parametrize(("mode", "better"), [("max", True), ("min", False)])
def test_the_interval_is_around_the_gain(mode: Literal["min", "max"], better: bool) -> None:
    values = np.linspace(0.0, 1.0, 40)
    ours, theirs = (Measured({"score": float(v.mean())}, {"score": v}) for v in (values + 1, values**2))
    found = Baseline()._compared(Objective("score", mode, "as asked"), ours, theirs, "another")
    assert found.interval is not None
    assert found.interval.low < found.gain < found.interval.high
    assert (found.gain > 0, found.better_by(0.0)) == (better, better)
