"""Optuna's studies, as a search here uses them: continued by name, told what came of each trial."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from nimble_lightning.errors import RequestError

NAME = "search"
# Set by a trial that ended early, with the step it ended at.
PRUNED = "pruned_at"
SAMPLERS = ("tpe", "random", "cmaes", "gp", "grid")
PRUNERS = ("median", "hyperband")


def optuna() -> Any:
    """The package, or how to get it."""
    try:
        import optuna
    except ImportError:
        raise RequestError('A search needs Optuna: pip install "nimble-lightning[sweep]"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_study(address: str, *, sampler: Any, pruner: Any, directions: Sequence[str]) -> Any:
    """The study at an address, new or continued."""
    return optuna().create_study(
        study_name=NAME,
        storage=address,
        sampler=sampler,
        pruner=pruner,
        directions=list(directions),
        load_if_exists=True,
    )


def open_trial(address: str, number: int) -> Any:
    """A trial of a study, from another process."""
    study = optuna().load_study(study_name=NAME, storage=address)
    return optuna().trial.Trial(study, number)


def sampler(name: str, seed: int, grid: Mapping[str, Sequence[Any]]) -> Any:
    if name not in SAMPLERS:
        raise RequestError(f"hydra.sweeper.sampler={name}: expected {', '.join(SAMPLERS)}.")
    kinds = optuna().samplers
    if name == "grid":
        return kinds.GridSampler(grid, seed=seed)
    made = {"tpe": "TPESampler", "random": "RandomSampler", "cmaes": "CmaEsSampler", "gp": "GPSampler"}[name]
    return getattr(kinds, made)(seed=seed)


def pruner(name: str | None) -> Any:
    if name is not None and name not in PRUNERS:
        raise RequestError(f"hydra.sweeper.pruner={name}: expected {', '.join(PRUNERS)}, or null.")
    kinds = optuna().pruners
    made = {"median": kinds.MedianPruner, "hyperband": kinds.HyperbandPruner, None: kinds.NopPruner}
    return made[name]()


def interrupted(study: Any) -> list[Any]:
    """Trials that were asked for and of which nothing was told."""
    running = optuna().trial.TrialState.RUNNING
    return [
        optuna().trial.Trial(study, trial._trial_id)
        for trial in study.get_trials(states=[running], deepcopy=False)
    ]


def finished(study: Any, number: int, values: Sequence[float]) -> str:
    """A trial came to its end; one that ended early counts as pruned. Returns which of the two."""
    states = optuna().trial.TrialState
    trial = study.trials[number]
    if trial.state.is_finished():
        return str(trial.state.name)
    if PRUNED in trial.user_attrs:
        told = study.tell(number, state=states.PRUNED)
    else:
        told = study.tell(number, list(values))
    return str(told.state.name)


def failed(study: Any, number: int) -> None:
    with contextlib.suppress(ValueError):
        study.tell(number, state=optuna().trial.TrialState.FAIL)


def best(study: Any) -> list[Any]:
    """The best trial, or those of which none is better in all objectives; none where none was finished."""
    done = optuna().trial.TrialState.COMPLETE
    return list(study.best_trials) if study.get_trials(states=[done], deepcopy=False) else []
