"""Metrics are means over samples, however the samples were batched."""

from __future__ import annotations

import pytest
import torch
import torchmetrics
from hypothesis import given
from hypothesis import strategies as st

from nimble_lightning.adapters.evaluation import Means
from nimble_lightning.errors import TrainerError

CPU = torch.device("cpu")


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=7), min_size=1, max_size=6))
def test_values_per_sample_average_over_samples_not_over_batches(batches: list[list[bool]]) -> None:
    means = Means()
    for batch in batches:
        means.add({"accuracy": torch.tensor(batch)}, len(batch))
    flat = [v for b in batches for v in b]
    assert means.compute(CPU)["accuracy"] == pytest.approx(sum(flat) / len(flat), abs=1e-12)


def test_a_batch_mean_is_weighted_by_its_batch() -> None:
    means = Means()
    means.add({"loss": torch.tensor(1.0)}, 1)
    means.add({"loss": 0.0}, 3)
    assert means.compute(CPU) == {"loss": 0.25}


def test_torchmetrics_objects_are_computed_once_at_the_end_and_start_anew() -> None:
    metric = torchmetrics.classification.MulticlassF1Score(num_classes=2, average="macro")
    target, prediction = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 1, 1, 1, 0])
    expected = float(metric(prediction, target))
    metric.reset()
    means = Means()
    for part in (slice(0, 2), slice(2, 5)):
        metric.update(prediction[part], target[part])
        means.add({"f1": metric}, 3)
    assert means.compute(CPU) == {"f1": pytest.approx(expected)}
    assert metric.update_count == 0


def test_a_number_alone_is_a_loss() -> None:
    means = Means()
    means.add(torch.tensor(2.0), 4)
    assert means.compute(CPU) == {"loss": 2.0}


def test_a_rank_that_only_repeats_adds_nothing() -> None:
    means = Means()
    means.add({"accuracy": torch.ones(3)}, 3, counts=False)
    assert means._sums["accuracy"] == 0
    assert means._sizes["accuracy"] == 0


def test_values_that_are_neither_per_sample_nor_a_mean_are_refused_with_both_sizes() -> None:
    with pytest.raises(TrainerError, match=r"'accuracy' with 2 values for a batch of 3"):
        Means().add({"accuracy": torch.ones(2)}, 3)


def test_metrics_without_a_name_are_refused() -> None:
    with pytest.raises(TrainerError, match="by name"):
        Means().add([1.0, 2.0], 2)


def test_nothing_is_kept_but_one_number_a_name() -> None:
    means = Means()
    for _ in range(100):
        means.add({"accuracy": torch.ones(50)}, 50)
    assert means._sums["accuracy"].numel() == 1
