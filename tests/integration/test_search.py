"""A search proposes, learns, ends what is hopeless, and goes on after it was killed."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from external_launchers import until
from forked_command import Command

from nimble_lightning.ops import studies

pytest.importorskip("optuna")

TRAINER = """
import time
import torch
from nimble_lightning import NimbleTrainer, param

class MyTrainer(NimbleTrainer):
    def pre_process(
        self,
        *,
        kind: str = param("near", choices=["near", "far"]),
        distance: float = param(1.0, low=0.0, high=10.0, when={"kind": "far"}),
        fail: bool = False,
        wait: float = 0.0,
    ):
        assert not fail, "asked to fail"
        self.distance, self.wait = (distance if kind == "far" else 0.0), wait
        self.number = self.trial.number if self.trial else -1
        x = torch.zeros(8, 1)
        self.train_data = self.eval_data = (x, x)
        self.model = torch.nn.Linear(1, 1)

    def train(self, batch):
        time.sleep(self.wait)
        return self.model(batch[0]).square().mean()

    def evaluate(self, batch):
        return {"distance": self.distance, "trial": float(self.number)}
"""
SETTINGS = [
    "trainer=my_trainer.py",
    "hydra/sweeper=search",
    "sweep_id=s",
    "monitor=distance",
    "mode=min",
    "lightning.accelerator=cpu",
    "lightning.max_epochs=2",
    "callbacks=none",
    "launch.jobs=2",
]
SWEEP = Path("outputs/my_trainer/s")


@pytest.fixture(autouse=True)
def trainer_file() -> None:
    Path("my_trainer.py").write_text(dedent(TRAINER))


def search(*more: str, code: int = 0) -> str:
    return Command("-m", *SETTINGS, *more).end_with(code)


def trials() -> list[Any]:
    address = f"sqlite:///{SWEEP.absolute()}/study.db"
    return list(studies.optuna().load_study(study_name=studies.NAME, storage=address).trials)


def summary() -> dict[str, Any]:
    return json.loads((SWEEP / "sweep.json").read_text())


def metrics(number: int) -> dict[str, float]:
    return json.loads((SWEEP / str(number) / "run.json").read_text())["metrics"]


def test_what_the_file_declares_is_searched_and_every_member_is_the_trial_it_says() -> None:
    text = search("hydra.sweeper.trials=3")
    found = trials()
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 3
    for trial in found:
        assert ("params.distance" in trial.params) == (trial.params["params.kind"] == "far")
        assert metrics(trial.number)["distance"] == trial.value
        assert metrics(trial.number)["trial"] == trial.number
    assert "best: job" in text


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_and_asks_for_no_more_than_it_was_to() -> None:
    command = Command("-m", *SETTINGS, "hydra.sweeper.trials=3", "params.wait=0.1")
    assert until(lambda: any(SWEEP.glob("*/finished.json")))
    command.kill()
    search("hydra.sweeper.trials=3", "params.wait=0.1")
    found = trials()
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 3
    assert [metrics(trial.number)["distance"] for trial in found] == [trial.value for trial in found]
    # Those that ended before the kill are not asked again, and are summed up all the same.
    members = summary()["members"]
    assert [member["status"] for member in members] == ["finished"] * 3
    for member, trial in zip(members, found, strict=True):
        assert f"params.kind='{trial.params['params.kind']}'" in member["overrides"]


def test_what_the_command_line_fixes_is_not_searched_and_what_it_opens_is() -> None:
    search("hydra.sweeper.trials=2", "params.kind=far", "params.distance=interval(2.0,3.0)")
    for trial in trials():
        assert list(trial.params) == ["params.distance"]
        assert 2.0 <= trial.params["params.distance"] <= 3.0


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["cmaes", "gp"])
def test_several_objectives_have_a_front_whoever_proposes(sampler: str) -> None:
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
        wanted = "{distance: minimize}"
    else:
        wanted = "{distance: minimize, trial: maximize}"
    search(
        "hydra.sweeper.trials=4",
        "params.kind=far",
        f"hydra.sweeper.sampler={sampler}",
        f"hydra.sweeper.objectives={wanted}",
    )
    study = studies.optuna().load_study(
        study_name=studies.NAME, storage=f"sqlite:///{SWEEP.absolute()}/study.db"
    )
    assert sorted(summary()["best"]) == sorted(trial.number for trial in study.best_trials)
    assert summary()["objectives"].keys() <= {"distance", "trial"}


@pytest.mark.slow
def test_a_failed_member_does_not_end_the_search() -> None:
    text = search("hydra.sweeper.trials=2", "params.fail=choice(true)", code=1)
    assert "asked to fail" in text
    assert [trial.state.name for trial in trials()] == ["FAIL"] * 2


def test_where_there_is_nothing_to_search_that_is_said() -> None:
    Path("my_trainer.py").write_text(
        dedent(TRAINER).replace('param("near", choices=["near", "far"])', '"near"')
    )
    text = Path("my_trainer.py").read_text()
    Path("my_trainer.py").write_text(
        text.replace('param(1.0, low=0.0, high=10.0, when={"kind": "far"})', "1.0")
    )
    assert "nothing to search for" in search(code=2)


ACCURATE = """
import torch, torchmetrics
from nimble_lightning import NimbleTrainer, param

class Accurate(NimbleTrainer):
    def pre_process(self, *, share: float = param(0.5, low=0.0, high=1.0)):
        x = torch.zeros(8, 1)
        self.train_data = self.eval_data = (x, x)
        self.model = torch.nn.Linear(1, 1)
        self.share = share
        self.shown = torchmetrics.MeanSquaredError()

    def train(self, batch):
        return self.model(batch[0]).square().mean()

    def evaluate(self, batch):
        self.shown.update(torch.full((8,), self.share), torch.zeros(8))
        return {"accuracy": self.share, "zorp": self.share, "quality": self.shown}
"""


def accurate(*more: str, code: int = 0) -> str:
    Path("accurate.py").write_text(dedent(ACCURATE))
    words = ["trainer=accurate.py", "output_dir=outputs", "name=my_trainer", *SETTINGS[1:3], *SETTINGS[5:]]
    return Command("-m", *words, *more).end_with(code)


def test_a_search_finds_the_highest_accuracy_goes_on_for_it_alone_and_everybody_says_the_same() -> None:
    accurate("hydra.sweeper.trials=2", "monitor=accuracy", "callbacks=[best_checkpoint]")
    assert "begun to maximize accuracy, and is asked now to minimize accuracy" in accurate(
        "hydra.sweeper.trials=3", "monitor=accuracy", "mode=min", code=2
    )
    text = accurate("hydra.sweeper.trials=3", "callbacks=[best_checkpoint]")
    reached = {n: metrics(n)["accuracy"] for n in range(3)}
    best = max(reached, key=lambda n: reached[n])
    assert [trial.value for trial in trials()] == list(reached.values())
    address = f"sqlite:///{SWEEP.absolute()}/study.db"
    study = studies.optuna().load_study(study_name=studies.NAME, storage=address)
    assert (study.direction.name, study.best_trial.number) == ("MAXIMIZE", best)
    assert (summary()["best"], summary()["objectives"]) == ([best], {"accuracy": "maximize"})
    assert f"objective: accuracy, higher is better (by its name)\nbest: job {best}  accuracy=" in text
    page = (SWEEP / "report.html").read_text()
    assert f"member {best}<" in page
    assert "objective: accuracy, higher is better" in page
    assert "trial.id" not in page


def test_a_search_that_does_not_know_what_it_looks_for_is_refused_before_it_begins() -> None:
    assert "A search has to know what it looks for" in accurate(code=2)
    assert "Add mode=min or mode=max" in accurate("monitor=zorp", code=2)
    assert not SWEEP.exists()


def test_a_name_that_torchmetrics_contradicts_ends_the_search_before_it_is_told_wrongly() -> None:
    text = accurate("hydra.sweeper.trials=2", "monitor=quality", "launch.jobs=1", code=2)
    assert "looks for quality, higher is better (by its name)" in text
    assert "job 0 found quality, lower is better (as torchmetrics says)" in text
    assert "COMPLETE" not in [trial.state.name for trial in trials()]


def test_one_figure_is_pruned_by_and_not_several() -> None:
    several = "hydra.sweeper.objectives={accuracy: maximize, zorp: minimize}"
    assert "ends trials by one figure" in accurate(several, "hydra.sweeper.pruner=median", code=2)
    assert "expected minimize or maximize" in accurate("hydra.sweeper.objectives={accuracy: up}", code=2)
