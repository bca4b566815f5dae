"""Of members that differ in values only one is composed before the first starts."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from nimble_lightning.cli.hydra.grid_sweeper import Grid


@pytest.fixture
def composed() -> list[list[str]]:
    return []


@pytest.fixture
def grid(composed: list[list[str]]) -> Grid:
    def compose(*, master_config: Any, sweep_overrides: list[str]) -> None:
        composed.append(sweep_overrides)

    made = Grid(max_batch_size=None)
    made.config = OmegaConf.create({"hydra": {"runtime": {"choices": {"optim": "adamw", "logger": "jsonl"}}}})
    made.hydra_context = SimpleNamespace(config_loader=SimpleNamespace(load_sweep_config=compose))  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(
    ("batch", "times"),
    [
        ([["++params.lr=1", "seed=1"], ["++params.lr=2", "seed=2"]], 1),
        ([["optim=sgd", "seed=1"], ["optim=adamw", "seed=1"], ["optim=sgd", "seed=2"]], 2),
        ([["logger@first=jsonl"], ["logger@first=csv"]], 2),
        ([["+new=a"], ["+new=b"]], 2),
        ([["~optim", "seed=1"], ["seed=1"]], 2),
    ],
)
def test_what_decides_over_files_is_composed(
    grid: Grid, composed: list[list[str]], batch: Sequence[Sequence[str]], times: int
) -> None:
    grid.validate_batch_is_legal(batch)
    assert len(composed) == times
