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
    return studies.open_study(address, pruner=studies.pruner(None), objectives={"x": "minimize"})


def test_it_is_continued_where_it_was(address: str) -> None:
    study = open_study(address)
    for value in (2.0, 1.0):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        studies.finished(study, trial.number, [value])
    again = open_study(address)
    assert [trial.value for trial in again.trials] == [2.0, 1.0]


def test_a_trial_of_which_nothing_was_told_comes_back_with_its_values(address: str) -> None:
    proposer = studies.Proposer("random", 0, {})
    proposed = proposer.ask(open_study(address)).suggest_float("x", 0, 1)
    (trial,) = proposer.interrupted(open_study(address))
    assert trial.suggest_float("x", 0, 1) == proposed


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_search_proposes_the_same_however_often_it_is_continued(name: str, tmp_path: Path) -> None:
    def propose(address: str, study: Any = None) -> float:
        study = study or open_study(address)
        trial = studies.Proposer(name, 7, {}).ask(study)
        value = trial.suggest_float("x", 0, 1)
        studies.finished(study, trial.number, [value])
        return value

    broken, whole = (f"sqlite:///{tmp_path}/{name}.db" for name in ("broken", "whole"))
    study = open_study(whole)
    proposed = [propose(whole, study) for _ in range(12)]
    assert len(set(proposed)) == 12
    assert [propose(broken) for _ in range(12)] == proposed


def test_another_seed_proposes_something_else(address: str) -> None:
    study = open_study(address)
    trials = [studies.Proposer("random", seed, {}).ask(study) for seed in (2, 1)]
    # Not even shifted by one trial.
    first, second = (trial.suggest_float("x", 0, 1) for trial in trials)
    assert first != second


def test_it_hears_of_the_same_end_once(address: str) -> None:
    study = open_study(address)
    trial = study.ask()
    studies.finished(study, trial.number, [1.0])
    studies.finished(study, trial.number, [5.0])
    studies.failed(study, trial.number)
    assert [t.value for t in study.trials] == [1.0]


def test_one_that_ended_early_counts_as_pruned(address: str) -> None:
    study = open_study(address)
    trial = study.ask()
    studies.open_trial(address, trial._trial_id).set_user_attr(studies.PRUNED, 10)
    assert studies.finished(study, trial.number, [0.0]) == "PRUNED"
    assert study.trials[0].state.name == "PRUNED"


@pytest.mark.parametrize("name", studies.SAMPLERS)
def test_every_sampler_proposes(name: str, address: str) -> None:
    if name == "cmaes":
        pytest.importorskip("cmaes")
    study = studies.open_study(address, pruner=studies.pruner("median"), objectives={"x": "maximize"})
    trial = studies.Proposer(name, 0, {"x": [1, 2]}).ask(study)
    assert trial.suggest_categorical("x", [1, 2]) in (1, 2)


def test_names_nobody_knows_are_refused() -> None:
    with pytest.raises(RequestError, match="sampler=tpee: expected tpe, random"):
        studies.Proposer("tpee", 0, {})
    with pytest.raises(RequestError, match="pruner=x: expected median"):
        studies.pruner("x")
