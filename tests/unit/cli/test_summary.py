"""sweep.json says which members are best, and everything that came of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nimble_lightning.cli.outcomes import Outcome
from nimble_lightning.cli.summary import best, objectives_of, write


def member(job: int, status: str = "finished", **metrics: float) -> dict[str, Any]:
    return {"job": job, "status": status, "metrics": metrics}


def test_the_best_is_the_one_that_none_beats() -> None:
    members = [member(0, a=0.5), member(1, a=0.9), member(2, "failed"), member(3, "pruned", a=0.95)]
    assert best(members, {"a": "maximize"}) == [1]
    assert best(members, {"a": "minimize"}) == [0]


def test_of_several_objectives_the_whole_front_is_best() -> None:
    members = [member(0, a=0.9, t=10), member(1, a=0.8, t=5), member(2, a=0.8, t=7), member(3, a=0.99)]
    assert best(members, {"a": "maximize", "t": "minimize"}) == [0, 1]


@pytest.mark.parametrize("value", [float("nan")])
def test_what_is_no_number_is_never_best(value: float) -> None:
    assert best([member(0, a=value), member(1, a=1.0)], {"a": "minimize"}) == [1]
    assert best([member(0, a=value)], {"a": "minimize"}) == []


def test_without_a_figure_nobody_is_best() -> None:
    assert best([member(0), member(1)], {}) == []


def test_the_monitored_figure_is_the_objective_unless_told_otherwise() -> None:
    ended = [
        Outcome(0, (), "failed", 1, Path("0")),
        Outcome(1, (), "finished", 0, Path("1"), ("val_loss", 1.0)),
    ]
    assert objectives_of(ended, None) == {"val_loss": "minimize"}
    assert objectives_of(ended, "max") == {"val_loss": "maximize"}
    assert objectives_of(ended[:1], None) == {}


def test_it_holds_each_member_with_what_was_asked_and_what_came_of_it() -> None:
    folder = Path.cwd() / "mine" / "0"
    folder.mkdir(parents=True)
    attempts = [{"number": 1, "cause": "hang", "reason": "no step for 3 s", "first_step": 0, "last_step": 4}]
    run = {"run_id": "mine-0", "metrics": {"val_loss": 0.5}, "attempts": attempts}
    (folder / "run.json").write_text(json.dumps(run))
    ended = Outcome(0, ("params.lr=1",), "finished", 0, folder, ("val_loss", 0.5), 2.5, "finished")
    content = json.loads(write(folder.parent, [ended], {"val_loss": "minimize"}, 0).read_text())
    assert (content["sweep_id"], content["status"], content["exit_code"]) == ("mine", "finished", 0)
    assert content["best"] == [0]
    (found,) = content["members"]
    assert found["overrides"] == ["params.lr=1"]
    assert found["attempts"][0]["cause"] == "hang"
    assert (found["run_id"], found["metrics"], found["seconds"]) == ("mine-0", {"val_loss": 0.5}, 2.5)
