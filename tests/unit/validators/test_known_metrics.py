"""Names of metrics are checked as soon as there are metrics."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.worker.validation import KnownMetrics


def trainer(*names: str, validates: bool = True) -> Any:
    return SimpleNamespace(callback_metrics=dict.fromkeys(names, 0.0), enable_validation=validates)


def test_a_name_is_refused_at_the_first_validation_and_a_known_one_never() -> None:
    KnownMetrics(["accuracy", "train_loss", "global_step"], tested=False).on_validation_end(
        trainer("accuracy"), None
    )  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="did you mean accuracy"):
        KnownMetrics(["acuracy"], tested=False).on_validation_end(trainer("accuracy"), None)  # type: ignore[arg-type]


def test_what_is_only_logged_in_training_is_no_final_figure() -> None:
    with pytest.raises(RequestError, match="train_accuracy"):
        KnownMetrics(["train_accuracy"], tested=False).on_validation_end(
            trainer("accuracy", "train_accuracy"), None
        )  # type: ignore[arg-type]


def test_metrics_of_a_test_to_come_are_believed() -> None:
    KnownMetrics(["test_accuracy"], tested=True).on_validation_end(trainer("accuracy"), None)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="test_accuracy"):
        KnownMetrics(["test_accuracy"], tested=False).on_validation_end(trainer("accuracy"), None)  # type: ignore[arg-type]


def test_without_any_validation_names_are_checked_before_the_first_step() -> None:
    with pytest.raises(RequestError, match="There is no metric accuracy"):
        KnownMetrics(["accuracy"], tested=False).on_train_start(trainer(validates=False), None)  # type: ignore[arg-type]
    KnownMetrics(["accuracy"], tested=False).on_train_start(trainer(validates=True), None)  # type: ignore[arg-type]
