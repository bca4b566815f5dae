"""Steps of very different length, in real time: none is taken for a hang."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from killed_runs import job
from torch import Tensor

from nimble_lightning.launch.start import start
from nimble_lightning.supervision import watchdog
from nimble_lightning.testing.tiny import TinyTrainer

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3 * 3600)]

SHORTEST, JITTER, MEAN = 0.1, 10, 0.55


class Jittering(TinyTrainer):
    """Each step pretends to take between a tenth of a second and a whole one."""

    def pre_process(self, *, seconds: float = 3.0) -> None:
        super().pre_process(samples=8 * round(seconds / MEAN))
        self.chance = random.Random(11)

    def train(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        time.sleep(SHORTEST * self.chance.uniform(1, JITTER))
        return super().train(batch)

    def evaluate(self, batch: tuple[Tensor, Tensor]) -> dict[str, Any]:
        time.sleep(SHORTEST * self.chance.uniform(1, JITTER) / 10)
        return super().evaluate(batch)


@pytest.mark.parametrize("floor", [watchdog.FLOOR_SECONDS, 0.0], ids=["as shipped", "learned alone"])
def test_steps_that_jitter_tenfold_raise_no_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, floor: float
) -> None:
    monkeypatch.setattr(watchdog, "FLOOR_SECONDS", floor)
    settings = ["+params.seconds=3600", "lightning.max_epochs=1", "lightning.val_check_interval=1.0"]
    asked = job(
        tmp_path,
        *settings,
        "callbacks.auto_retry.hang_seconds=auto",
        "callbacks.auto_retry.save_every_n_steps=100",
        trainer=f"{__file__}:Jittering",
    )
    began = time.monotonic()
    result = start(asked)
    attempts = json.loads((tmp_path / "run.json").read_text())["attempts"]
    print(f"{result.metrics['global_step']} steps in {time.monotonic() - began:.0f} s, {attempts}")
    assert [attempt["cause"] for attempt in attempts] == ["finished"]
