"""Ranks that were given different settings do not average their gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
from killed_runs import job

from nimble_lightning.launch.start import start


def test_a_difference_between_ranks_is_named_and_nothing_is_trained(tmp_path: Path) -> None:
    differs = "optim.lr='${oc.decode:${oc.env:RANK,1}}'"
    result = start(job(tmp_path, "lightning.max_epochs=1", differs, devices=2))
    assert (result.status, result.exit_code) == ("failed", 2)
    assert "different values of optim.lr;" in result.message
    assert not list(tmp_path.glob("checkpoints/**/*.ckpt"))
    assert len(result.attempts) == 1


@pytest.mark.parametrize("devices", [1, 2])
def test_a_reference_that_is_the_same_everywhere_is_no_difference(tmp_path: Path, devices: int) -> None:
    same = "optim.lr='${oc.decode:${oc.env:NIMBLE_NOWHERE,0.001}}'"
    assert start(job(tmp_path, "lightning.max_epochs=1", same, devices=devices)).status == "finished"
