"""Optuna's studies, as a search here uses them: continued by name, told what came of each trial."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nimble_lightning.errors import RequestError

NAME = "search"
# What a study looks for: its directions do not say of which figures.
OBJECTIVES = "objectives"
# How its members were asked for them.
MONITORED = "monitored"
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


def open_study(address: str, *, pruner: Any, objectives: Mapping[str, str]) -> Any:
    """The study at an address, new or continued.

    Raises:
        RequestError: It was begun for other figures, or the other way round.
    """
    study = optuna().create_study(
        study_name=NAME,
        storage=address,
        pruner=pruner,
        directions=list(objectives.values()),
        load_if_exists=True,
    )
    ways = [each.name.lower() for each in study.directions]
    before = study.user_attrs.get(OBJECTIVES) or dict(zip(objectives, ways, strict=False))
    if before != objectives or ways != list(objectives.values()):
        raise RequestError(
            f"The study was begun to {_told(before)}, and is asked now to {_told(objectives)}\n"
            "Ask for the same again, or for another sweep_id"
        )
    study.set_user_attr(OBJECTIVES, dict(objectives))
    return study


def remembered(address: str, attribute: str) -> dict[str, Any]:
    """What the study at an address was told to remember; nothing where there is no study."""
    try:
        study = optuna().load_study(study_name=NAME, storage=address)
    except KeyError:
        return {}
    return dict(study.user_attrs.get(attribute, {}))


def _told(objectives: Mapping[str, str]) -> str:
    return " and ".join(f"{way} {name}" for name, way in objectives.items())


def open_trial(address: str, number: int) -> Any:
    """A trial of a study, from another process."""
    # Whoever began the study has looked whether its tables are there and new enough, which takes a while.
    known = {"skip_compatibility_check": True, "skip_table_creation": True}
    study = optuna().load_study(study_name=NAME, storage=optuna().storages.RDBStorage(address, **known))
    return optuna().trial.Trial(study, number)


@dataclass(frozen=True)
class Proposer:
    """Proposes the values of trials.

    Each trial has a sampler with a seed of its own. With one for all, a search that is continued would begin
    its random numbers anew, and try once more what it tried first.

    Args:
        name: Of the sampler.
        seed: Of the search.
        grid: For the sampler of that name, all values of each key.
    """

    name: str
    seed: int
    grid: Mapping[str, Sequence[Any]]

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise RequestError(f"hydra.sweeper.sampler={self.name}: expected {', '.join(SAMPLERS)}.")

    def interrupted(self, study: Any) -> Iterator[Any]:
        """Trials that were asked for and of which nothing was told."""
        running = optuna().trial.TrialState.RUNNING
        for trial in study.get_trials(states=[running], deepcopy=False):
            study.sampler = self._sampler(trial.number)
            yield optuna().trial.Trial(study, trial._trial_id)

    def ask(self, study: Any) -> Any:
        """The next trial."""
        study.sampler = self._sampler(len(study.get_trials(deepcopy=False)))
        return study.ask()

    def _sampler(self, trial: int) -> Any:
        kinds = optuna().samplers
        seed = random.Random(f"{self.seed} {trial}").getrandbits(32)
        if self.name == "grid":
            return kinds.GridSampler(self.grid, seed=seed)
        made = {"tpe": "TPESampler", "random": "RandomSampler", "cmaes": "CmaEsSampler", "gp": "GPSampler"}
        return getattr(kinds, made[self.name])(seed=seed)


def pruner(name: str | None) -> Any:
    """Optuna's pruner of a name; None never prunes."""
    if name is not None and name not in PRUNERS:
        raise RequestError(f"hydra.sweeper.pruner={name}: expected {', '.join(PRUNERS)}, or null.")
    kinds = optuna().pruners
    made = {"median": kinds.MedianPruner, "hyperband": kinds.HyperbandPruner, None: kinds.NopPruner}
    return made[name]()


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
    """Record a trial as failed, unless it has already ended."""
    with contextlib.suppress(ValueError):
        study.tell(number, state=optuna().trial.TrialState.FAIL)
