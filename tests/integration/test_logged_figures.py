"""Every logged figure is right, and stands at the optimizer step that it belongs to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from line_trainer import Line, fitted

from nimble_lightning.errors import TrainerError
from nimble_lightning.settings import Clip, DataSettings, LogSettings, RunSettings
from nimble_lightning.trainer import NimbleTrainer

LINEAR = {"_target_": "nimble_lightning.optim.schedules.linear"}
SGD = {"_target_": "torch.optim.SGD", "lr": 0.5}


class Rows(DummyLogger):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        assert step is not None
        self.rows.append((step, dict(metrics)))

    def of(self, name: str) -> list[Any]:
        return [(step, metrics[name]) for step, metrics in self.rows if name in metrics]


def logged(user: Any, settings: RunSettings | None = None, **options: Any) -> tuple[Rows, Any]:
    rows = Rows()
    module, _ = fitted(user, settings, logger=rows, **{"max_epochs": 1, "log_every_n_steps": 1, **options})
    return rows, module


class Reached(Line):
    """The figure of an evaluation is the number of steps made before it."""

    def pre_process(self, *, samples: int = 36) -> None:
        super().pre_process(samples=samples)
        self.steps = 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trainer = self

        class Counted(torch.optim.SGD):
            def step(self, closure: Any = None) -> Any:
                trainer.steps += 1
                return super().step(closure)

        return Counted(self.model.parameters(), lr=0.1)

    def evaluate(self, batch: Any) -> Any:
        return {"reached": float(self.steps)}


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_an_evaluation_stands_at_the_step_it_was_made_after(accumulate: int) -> None:
    rows, _ = logged(Reached(), accumulate_grad_batches=accumulate, val_check_interval=3, max_epochs=2)
    found = rows.of("reached")
    assert len(found) == 6
    assert all(step == value for step, value in found)
    assert [step for step, _ in rows.of("train_loss")] == list(range(1, 1 + 2 * math.ceil(9 / accumulate)))


def test_every_row_says_the_epoch_it_is_of() -> None:
    rows, _ = logged(Reached(), val_check_interval=4, max_epochs=2)
    assert [metrics["epoch"] for _, metrics in rows.rows if "train_loss" in metrics] == [0] * 9 + [1] * 9
    assert [metrics["epoch"] for _, metrics in rows.rows if "reached" in metrics] == [0, 0, 1, 1]


def test_an_epoch_too_short_for_a_row_has_one_at_its_end_and_no_other_epoch_has() -> None:
    """Nine batches are five steps in windows of two; of the second epoch the first step has a row."""
    rows, _ = logged(Reached(), accumulate_grad_batches=2, log_every_n_steps=6, max_epochs=3)
    assert [step for step, _ in rows.of("train_loss")] == [5, 6, 12]


def test_the_loss_of_the_run_counts_the_steps_after_its_last_row() -> None:
    settings = RunSettings(data=DataSettings(batch_size=4), optim=SGD)
    rows, each = logged(Line(), settings, max_epochs=2)
    _, seldom = logged(Line(), settings, max_epochs=2, log_every_n_steps=4)
    mean = np.mean([loss for _, loss in rows.of("train_loss")])
    assert each.running.mean_loss == pytest.approx(mean, rel=1e-6)
    assert seldom.running.mean_loss == pytest.approx(mean, rel=1e-6)


def test_the_logged_learning_rate_is_the_one_that_was_used() -> None:
    user = Line()
    rows, module = logged(user, RunSettings(data=DataSettings(batch_size=3), optim=SGD, schedule=LINEAR))
    assert rows.of("lr") == [
        (step, pytest.approx(rate)) for step, rate in enumerate([0.5, 0.375, 0.25, 0.125], 1)
    ]


def test_a_schedule_counts_the_incomplete_window_at_the_end_of_an_epoch() -> None:
    settings = RunSettings(data=DataSettings(batch_size=4), optim=SGD, schedule=LINEAR)
    rows, _ = logged(Line(), settings, accumulate_grad_batches=2, max_epochs=2)
    assert [rate for _, rate in rows.of("lr")] == [0.5, 0.375, 0.25, 0.125]


def test_every_group_with_a_learning_rate_of_its_own_shows_it() -> None:
    class Groups(Line):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            own = [torch.nn.Parameter(torch.zeros(())) for _ in range(3)]
            groups = [{"params": self.model.parameters(), "lr": 0.5}, {"params": own[0], "lr": 0.5}]
            groups += [{"params": own[1], "lr": 0.25, "name": "head"}, {"params": own[2], "lr": 0.125}]
            return torch.optim.SGD(groups)

    rows, _ = logged(Groups())
    assert {name: rate for name, rate in rows.rows[0][1].items() if name.startswith("lr")} == {
        "lr": 0.5,
        "lr/head": 0.25,
        "lr/3": 0.125,
    }


@pytest.mark.parametrize("micro", ["auto", 1])
@pytest.mark.parametrize("clip", [None, 0.01])
def test_the_norm_of_the_gradients_is_that_of_the_whole_step_before_clipping(micro: Any, clip: Any) -> None:
    """Seven and five samples are one step of twelve, however they go through."""

    class Still(Line):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.model.parameters(), lr=0.0)

    data = DataSettings(batch_size=7, micro_batch_size=micro, shuffle=False)
    settings = RunSettings(data=data, clip=Clip(norm=clip), log=LogSettings(grad_norm=True))
    rows, _ = logged(Still(), settings, accumulate_grad_batches=2, max_epochs=2)
    x = np.linspace(-1, 1, 12)
    expected = abs(np.mean(2 * (0 * x - 2 * x) * x))
    assert rows.of("grad_norm") == [(step, pytest.approx(expected, rel=1e-6)) for step in (1, 2)]


def test_the_norm_is_found_only_where_it_is_asked_for_or_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = logged(Line(), RunSettings(data=DataSettings(batch_size=4), clip=Clip(norm=1.0)))
    assert len(rows.of("grad_norm")) == 3
    monkeypatch.setattr(torch.nn.utils, "get_total_norm", None)
    rows, _ = logged(Line(), RunSettings(data=DataSettings(batch_size=4), clip=Clip(value=1.0)))
    assert not rows.of("grad_norm")


class Telling(Line):
    """Its evaluation is what it is told."""

    def __init__(self, figures: Any = None, log: Any = (), derived: Any = None) -> None:
        self.figures, self.to_log, self.derived = figures, log, derived

    def evaluate(self, batch: Any) -> Any:
        x, _ = batch
        for name, value in self.to_log:
            self.log(name, value(x.squeeze(1)))
        return None if self.figures is None else self.figures(x.squeeze(1))


def test_what_evaluate_logs_is_a_mean_over_samples_like_what_it_returns() -> None:
    figures = [("each", lambda x: x > 0.5), ("mean", lambda x: (x > 0.5).float().mean()), ("val_named", len)]
    user = Telling(lambda x: {"returned": x > 0.5}, figures)
    rows, module = logged(user, RunSettings(data=DataSettings(batch_size=5)))
    share = float(np.mean(np.linspace(-1, 1, 12) > 0.5))
    (_, found), *_ = [row for row in rows.rows if "returned" in row[1]]
    counted = (5 * 5 + 5 * 5 + 2 * 2) / 12
    assert found | {"epoch": 0} == {
        "returned": share,
        "val_each": share,
        "val_mean": share,
        "val_named": counted,
        "epoch": 0,
    }
    assert module.trainer.callback_metrics["returned"].item() == share
    assert not any("each" in metrics for _, metrics in rows.rows if "train_loss" in metrics)


def test_what_is_returned_and_logged_is_one_figure() -> None:
    rows, _ = logged(Telling(lambda x: {"loss": x.mean() + 3}, [("loss", lambda x: x.mean() + 3)]))
    (_, found), *_ = [row for row in rows.rows if "val_loss" in row[1]]
    assert found.keys() - {"epoch"} == {"val_loss"}


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        (None, "evaluate returned nothing"),
        (lambda x: {}, "evaluate returned nothing"),
        (lambda x: {"loss": x, "val_loss": x}, "both 'loss', which is called val_loss, and 'val_loss'"),
    ],
)
def test_an_evaluation_that_says_nothing_or_two_things_is_refused(figures: Any, words: str) -> None:
    with pytest.raises(TrainerError, match=words):
        logged(Telling(figures))


@pytest.mark.parametrize(("derived", "words"), [(None, "NoneType"), ({"f1": "good"}, "'f1' is a str")])
def test_what_compute_metrics_returns_has_to_be_figures(derived: Any, words: str) -> None:
    class Derives(Telling):
        def compute_metrics(self, metrics: Any) -> Any:
            return derived

    with pytest.raises(TrainerError, match=words):
        logged(Derives(lambda x: {"a": x}))


def test_compute_metrics_adds_to_the_figures_and_may_be_all_there_is() -> None:
    class Derives(Telling):
        def compute_metrics(self, metrics: Any) -> Any:
            return {"scores": {"half": metrics.get("mean", 1) / 2, "exact": torch.tensor(0.9)}}

    rows, _ = logged(Derives(lambda x: {"mean": x + 0.5}))
    assert rows.of("scores/half") == [(3, pytest.approx(0.25, abs=1e-7))]
    assert rows.of("scores/exact") == [(3, 0.9)]
    rows, _ = logged(Derives(lambda x: None))
    assert rows.of("scores/half") == [(3, 0.5)]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((torch.zeros(0, 1), torch.zeros(0, 1)), "eval data: the dataset is empty"),
        (lambda: iter(()), "the eval data gave no batch"),
    ],
    ids=["rows", "stream"],
)
def test_an_evaluation_without_samples_says_which_data_is_empty(data: Any, words: str) -> None:
    class Empty(Line):
        def pre_process(self, *, samples: int = 12) -> None:
            super().pre_process(samples=samples)
            self.eval_data = data

    with pytest.raises(TrainerError, match=words):
        logged(Empty())


class Talkative(Line):
    """Logs wherever it can."""

    def pre_process(self, *, samples: int = 36) -> None:
        super().pre_process(samples=samples)
        self.eval_data = self.train_data
        self.log("prepared", 1.0)

    # The loss of train is the figure.
    evaluate = NimbleTrainer.evaluate

    def train(self, batch: Any) -> Any:
        self.log("trained", 2.0)
        return super().train(batch)


def test_what_is_logged_outside_of_batches_is_said_to_be_lost(caplog: pytest.LogCaptureFixture) -> None:
    user = Talkative()
    rows, _ = logged(user, max_epochs=2)
    assert {value for _, value in rows.of("trained")} == {2.0}
    assert caplog.text.count("self.log('prepared', ...) is not recorded here") == 1
    assert "'trained'" not in caplog.text, "nor where train gives the figure of the evaluation"
    user.log("shown", 3.0)
    assert "self.log('shown', ...) is not recorded here" in caplog.text
