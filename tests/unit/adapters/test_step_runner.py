"""Which models can redo a batch on one rank alone. Whole steps: test_global_step.py and tests/integration."""

from __future__ import annotations

import pytest
from torch import nn

from nimble_lightning.adapters.step_runner import meets_in_forward


@pytest.mark.parametrize(("layer", "meets"), [(nn.SyncBatchNorm(3), True), (nn.BatchNorm1d(3), False)])
def test_a_layer_that_averages_over_ranks_is_found_wherever_it_is(layer: nn.Module, meets: bool) -> None:
    assert meets_in_forward(nn.Sequential(nn.Linear(3, 3), nn.Sequential(layer))) == meets
