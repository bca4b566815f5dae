"""Metrics are means over samples, however the samples were batched."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from hypothesis import example, given
from hypothesis import strategies as st

from nimble_lightning.adapters import evaluation
from nimble_lightning.adapters.evaluation import Means, same_on_all_ranks
from nimble_lightning.adapters.losses import LabelCount
from nimble_lightning.adapters.returned_figures import parts_of
from nimble_lightning.errors import TrainerError

CPU = torch.device("cpu")


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=7), min_size=1, max_size=6))
def test_values_per_sample_average_over_samples_not_over_batches(batches: list[list[bool]]) -> None:
    means = Means()
    for batch in batches:
        means.add({"accuracy": torch.tensor(batch)}, len(batch))
    flat = [v for b in batches for v in b]
    assert means.compute(CPU)["accuracy"] == pytest.approx(sum(flat) / len(flat), abs=1e-12)


@pytest.mark.parametrize("kind", [torch.bool, torch.float16, torch.float64])
def test_several_values_a_sample_count_as_their_mean(kind: torch.dtype) -> None:
    values = torch.tensor([[[1, 0], [1, 1]], [[0, 0], [0, 1]], [[1, 1], [1, 1]]]).to(kind)
    means = Means()
    for part in (values[:1], values[1:]):
        means.add({"right": part}, len(part))
    assert means.compute(CPU) == {"right": pytest.approx((3 + 1 + 4) / 12)}


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
    means.add({"accuracy": torch.ones(3)}, 3, repeated=True, rank=1)
    assert means._sums["accuracy"] == 0
    assert means._sizes["accuracy"] == 0


@pytest.mark.parametrize("repeated", [False, True])
def test_ranks_put_their_metrics_together_unless_each_has_seen_everything(repeated: bool) -> None:
    class Noting(torchmetrics.SumMetric):
        def compute(self):
            synced.append(self.sync_on_compute)
            return super().compute()

    synced: list[bool] = []
    means, metric = Means(), Noting()
    metric.update(2.0)
    means.add({"sum": metric}, 1, repeated=repeated)
    assert means.compute(CPU) == {"sum": 2.0}
    assert (synced, metric.sync_on_compute) == ([not repeated], True)


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


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=40), min_size=1, max_size=6))
@example([[True] * 9 + [False]])
@example([[True, True], [True, False, False, True, True]])
def test_a_share_of_samples_is_exact_though_it_came_as_float32_means(batches: list[list[bool]]) -> None:
    means = Means()
    for batch in batches:
        mean = torch.tensor(batch).float().mean()
        means.add({"tensor": mean, "python": float(mean), "each": torch.tensor(batch)}, len(batch))
    flat = [v for b in batches for v in b]
    share = sum(flat) / len(flat)
    assert means.compute(CPU) == {"tensor": share, "python": share, "each": share}


def test_a_mean_that_is_no_share_stays_what_it_is() -> None:
    losses, sizes = torch.randn(9, generator=torch.Generator().manual_seed(0)).exp(), range(3, 12)
    means = Means()
    for loss, size in zip(losses, sizes, strict=True):
        means.add({"loss": loss}, size)
    exact = np.average(losses.double().numpy(), weights=list(sizes))
    assert means.compute(CPU)["loss"] == pytest.approx(exact, rel=1e-14)


def test_items_may_be_a_weight_that_is_not_whole() -> None:
    means = Means()
    means.add({"loss": 1.0}, 4, items=0.5)
    means.add({"loss": 3.0}, 4, items=1.5)
    assert means.compute(CPU) == {"loss": 2.5}


@pytest.mark.parametrize("kind", ["MeanMetric", "SumMetric", "CatMetric"])
def test_a_metric_made_anew_for_every_batch_counts_all_of_them(kind: str) -> None:
    values = torch.arange(10.0)
    means, once = Means(), getattr(torchmetrics, kind)()
    for part in (values[:4], values[4:8], values[8:]):
        anew = getattr(torchmetrics, kind)()
        anew.update(part)
        once.update(part)
        means.add({"anew": anew, "both": once}, len(part))
    found = means.compute(CPU)
    both = {name.replace("both", "anew"): value for name, value in found.items() if name.startswith("both")}
    assert both == {name: value for name, value in found.items() if name.startswith("anew")}


class MeanState(torchmetrics.Metric):
    """Keeps a mean, but not of how many."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("value", torch.tensor(0.0), dist_reduce_fx="mean")

    def update(self, value: torch.Tensor) -> None:
        self.value = value.mean()

    def compute(self) -> torch.Tensor:
        return self.value


@pytest.mark.parametrize(
    "make",
    [MeanState, torchmetrics.MaxMetric, lambda: torchmetrics.MetricCollection([torchmetrics.MeanMetric()])],
)
def test_a_metric_made_anew_that_cannot_be_put_together_is_refused(make: Any) -> None:
    means = Means()
    for number in range(2):
        metric = make()
        metric.update(torch.tensor([float(number)]))
        if number:
            with pytest.raises(TrainerError, match=r"anew for every batch.*in pre_process: self\.it"):
                means.add({"it": metric}, 1)
        else:
            means.add({"it": metric}, 1)


def test_a_collection_gives_all_its_figures_and_starts_anew() -> None:
    scores = torchmetrics.MetricCollection(
        [torchmetrics.classification.BinaryAccuracy(), torchmetrics.classification.BinaryF1Score()]
    )
    means = Means()
    target = torch.tensor([1, 1, 0, 1, 0])
    for part in (slice(0, 2), slice(2, 5)):
        scores.update(torch.tensor([1, 0, 0, 1, 1])[part], target[part])
        means.add(scores, 3)
    assert means.compute(CPU) == {"BinaryAccuracy": 0.6, "BinaryF1Score": pytest.approx(2 / 3)}
    assert scores["BinaryAccuracy"].update_count == 0


def test_one_metric_under_two_names_is_the_same_figure() -> None:
    metric, means = torchmetrics.MeanMetric(), Means()
    metric.update(torch.tensor([1.0, 2.0]))
    means.add({"a": metric, "b": metric}, 2)
    assert means.compute(CPU) == {"a": 1.5, "b": 1.5}


def test_figures_of_two_metrics_never_take_the_same_name() -> None:
    means, values = Means(), torch.ones(2)
    for name in ("seen", "unseen"):
        scores = torchmetrics.MetricCollection([torchmetrics.MeanMetric()])
        scores.update(values)
        means.add({name: scores}, 2)
    with pytest.raises(TrainerError, match="two figures are called 'MeanMetric'"):
        means.compute(CPU)


def test_figures_in_a_dict_of_their_own_have_both_names() -> None:
    means = Means()
    means.add({"seen": {"f1": 0.5, "deep": {"er": 1}}, "f1": 0.25}, 2)
    assert means.compute(CPU) == {"seen/f1": 0.5, "seen/deep/er": 1.0, "f1": 0.25}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("good", "'it' is a str"),
        (None, "'it' is a NoneType"),
        (torchmetrics.MeanMetric, "'it' is the class MeanMetric"),
        (1j, "'it' is complex numbers"),
        (torch.tensor([1j, 2j]), "'it' is complex numbers"),
    ],
)
def test_what_is_no_figure_is_refused_by_its_name(value: Any, words: str) -> None:
    with pytest.raises(TrainerError, match=words):
        Means().add({"it": value}, 2)


@pytest.mark.parametrize("name", ["epoch", "step"])
def test_names_that_every_row_has_are_refused(name: str) -> None:
    with pytest.raises(TrainerError, match=f"called '{name}'"):
        Means().add({name: 1.0}, 2)


def test_the_figures_beside_a_models_loss_are_kept_and_what_is_the_models_is_not() -> None:
    output = {"loss": torch.tensor(2.0), "logits": torch.zeros(3, 5), "right": torch.tensor([1, 0, 1])}
    means = Means()
    for values, items in parts_of(output, {}, 3, LabelCount()):
        means.add(values, 3, items=items)
    assert means.compute(CPU) == {"loss": 2.0, "right": 2 / 3}


def test_figures_that_differ_between_ranks_are_refused_and_rounding_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def on_two_ranks(first: float, second: float) -> dict[str, float]:
        monkeypatch.setattr(evaluation, "everyones", lambda mine: [mine, {"corr": second}])
        return same_on_all_ranks({"corr": first})

    assert on_two_ranks(0.1 + 0.2, 0.3) == {"corr": 0.1 + 0.2}
    assert math.isnan(on_two_ranks(math.nan, math.nan)["corr"])
    for other in (0.30001, math.nan, math.inf):
        with pytest.raises(TrainerError, match="corr is 0.3 on rank 0 .* that rank's own samples"):
            on_two_ranks(0.3, other)


def test_final_figures_are_as_exact_as_they_were_logged() -> None:
    logged = {"near": torch.tensor(0.9, dtype=torch.float64), "loss": torch.tensor(0.1)}
    rows = [{name: float(value.float()) for name, value in logged.items()}]
    trainer: Any = SimpleNamespace(callback_metrics=logged)
    assert evaluation.figures(trainer, rows) == {"near": 0.9, "loss": 0.1}


def test_torchmetrics_objects_say_which_of_their_figures_are_better_higher() -> None:
    means = Means()
    both = torchmetrics.MetricCollection([torchmetrics.MeanSquaredError(), torchmetrics.R2Score()])
    both.update(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]))
    unknown = torchmetrics.MeanMetric()
    unknown.update(1.0)
    means.add({"both": both, "mean": unknown}, 2)
    figures = means.compute(torch.device("cpu"))
    assert means.higher_is_better == {"MeanSquaredError": False, "R2Score": True}
    assert figures.keys() == {"MeanSquaredError", "R2Score", "mean"}
