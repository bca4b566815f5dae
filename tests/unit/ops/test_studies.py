"""A study is continued by its address, and hears of each trial once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.ops import studies


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture(autouse=True)
def close() -> Iterator[None]:
    """What the database library still holds open would be complained about in a later test."""
    yield
    import gc

    gc.collect()


def open_study(address: str) -> Any:
    return studies.open_study(
        address,
        sampler=studies.sampler("random", 0, {}),
        pruner=studies.pruner(None),
        directions=["minimize"],
    )


def test_it_is_continued_where_it_was(address: str) -> None:
    study = open_study(address)
    for value in (2.0, 1.0):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        studies.finished(study, trial.number, [value])
    again = open_study(address)
    assert [trial.value for trial in again.trials] == [2.0, 1.0]
    assert [trial.number for trial in studies.best(again)] == [1]


def test_a_trial_of_which_nothing_was_told_comes_back_with_its_values(address: str) -> None:
    study = open_study(address)
    proposed = study.ask().suggest_float("x", 0, 1)
    (trial,) = studies.interrupted(open_study(address))
    assert trial.suggest_float("x", 0, 1) == proposed


def test_it_hears_of_the_same_end_once(address: str) -> None:
    study = open_study(address)
    trial = study.ask()
    studies.finished(study, trial.number, [1.0])
    studies.finished(study, trial.number, [5.0])
    studies.failed(study, trial.number)
    assert [t.value for t in study.trials] == [1.0]


def test_one_that_ended_early_counts_as_pruned_and_never_as_best(address: str) -> None:
    study = open_study(address)
    trial = study.ask()
    studies.open_trial(address, trial._trial_id).set_user_attr(studies.PRUNED, 10)
    assert studies.finished(study, trial.number, [0.0]) == "PRUNED"
    assert study.trials[0].state.name == "PRUNED"
    assert studies.best(study) == []


@pytest.mark.parametrize("name", studies.SAMPLERS)
def test_every_sampler_proposes(name: str, address: str) -> None:
    if name == "cmaes":
        pytest.importorskip("cmaes")
    study = studies.open_study(
        address,
        sampler=studies.sampler(name, 0, {"x": [1, 2]}),
        pruner=studies.pruner("median"),
        directions=["maximize"],
    )
    assert study.ask().suggest_categorical("x", [1, 2]) in (1, 2)


def test_names_nobody_knows_are_refused() -> None:
    with pytest.raises(RequestError, match="sampler=tpee: expected tpe, random"):
        studies.sampler("tpee", 0, {})
    with pytest.raises(RequestError, match="pruner=x: expected median"):
        studies.pruner("x")
