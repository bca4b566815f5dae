"""Values of single samples, from any number of ranks, in the order of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nimble_lightning.validators import measurement
from nimble_lightning.validators.measurement import SampleRecorder


def recorded(*batches: dict[str, Any]) -> SampleRecorder:
    answers = iter(batches)
    recorder = SampleRecorder(lambda batch: next(answers))
    for values in batches:
        count = max(len(v) if isinstance(v, torch.Tensor) and v.dim() else 1 for v in values.values())
        assert recorder(torch.zeros(count, 2)) is values, "what evaluate returned goes on as it was"
    return recorder


def test_only_values_per_sample_are_kept_and_yes_or_no_is_told_from_numbers() -> None:
    recorder = recorded(
        {"right": torch.tensor([True, False]), "loss": torch.tensor([0.5, 2.0]), "mean": torch.tensor(1.0)},
        {"right": torch.tensor([True]), "loss": torch.tensor([[1.0, 3.0]]), "mean": torch.tensor(1.0)},
    )
    samples, shares = recorder.everyones(0)
    assert {name: values.tolist() for name, values in samples.items()} == {
        "right": [1.0, 0.0, 1.0],
        "loss": [0.5, 2.0, 2.0],
    }
    assert shares == {"right"}


def test_a_name_that_some_batches_lack_has_no_values() -> None:
    recorder = recorded({"a": torch.ones(2), "b": torch.ones(2)}, {"a": torch.ones(3)})
    samples, _ = recorder.everyones(0)
    assert set(samples) == {"a"}


def gathered(monkeypatch: pytest.MonkeyPatch, *ranks: tuple[int, list[list[float]]]) -> None:
    """The share of each rank, with its batches."""
    batches = [(share, [{"a": np.array(values)} for values in seen]) for share, seen in ranks]
    monkeypatch.setattr(measurement, "everyones", lambda own: batches)


def test_shares_of_ranks_are_put_back_in_the_order_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    gathered(monkeypatch, (0, [[0, 1], [4]]), (1, [[2, 3], [5]]))
    samples, _ = recorded({"a": torch.ones(1)}).everyones(0)
    assert samples["a"].tolist() == [0, 1, 2, 3, 4, 5]


def test_samples_that_several_ranks_have_seen_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gathered(monkeypatch, (0, [[0.5]]), (0, [[0.5]]), (1, [[0.25]]), (1, [[0.25]]))
    samples, _ = recorded({"a": torch.ones(1)}).everyones(0)
    assert samples["a"].tolist() == [0.5, 0.25]
