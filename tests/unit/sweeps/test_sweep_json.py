"""sweep.json says which members are best, and everything that came of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nimble_lightning.ops.objective import Objective
from nimble_lightning.sweeps.outcomes import MemberOutcome
from nimble_lightning.sweeps.sweep_json import best, judged_by, said, write

HIGH = Objective("a", "max", "by its name")
LOW = Objective("a", "min", "as asked")
FAST = Objective("t", "min", "as asked")
OPEN = Objective("a", None, "nobody knows")


def member(job: int, status: str = "finished", **metrics: float) -> dict[str, Any]:
    return {"job": job, "status": status, "metrics": metrics}


def ended(number: int, objective: Objective | None = None, **metrics: float) -> MemberOutcome:
    """A member whose folder tells what it is judged by."""
    folder = Path.cwd() / "mine" / str(number)
    folder.mkdir(parents=True)
    judged = None if objective is None else objective.to_json()
    (folder / "run.json").write_text(json.dumps({"metrics": metrics, "best": judged}))
    return MemberOutcome(number, (f"params.lr={number}",), "finished", 0, folder)


def test_the_best_is_the_one_that_none_beats() -> None:
    members = [member(0, a=0.5), member(1, a=0.9), member(2, "failed"), member(3, "pruned", a=0.95)]
    assert best(members, [HIGH]) == [1]
    assert best(members, [LOW]) == [0]


def test_of_several_objectives_the_whole_front_is_best() -> None:
    members = [member(0, a=0.9, t=10), member(1, a=0.8, t=5), member(2, a=0.8, t=7), member(3, a=0.99)]
    assert best(members, [HIGH, FAST]) == [0, 1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("objective", [HIGH, LOW])
def test_what_is_no_number_is_never_best(value: float, objective: Objective) -> None:
    assert best([member(0, a=value), member(1, a=1.0)], [objective]) == [1]
    assert best([member(0, a=value)], [objective]) == []


def test_without_a_figure_or_a_direction_nobody_is_best() -> None:
    assert best([member(0, a=1.0), member(1, a=2.0)], []) == []
    assert best([member(0, a=1.0), member(1, a=2.0)], [OPEN]) == []


def test_members_say_what_they_are_judged_by() -> None:
    assert judged_by([ended(0, HIGH), ended(1), ended(2, HIGH)]) == [HIGH]
    assert judged_by([ended(3)]) == []


def test_where_members_do_not_agree_nobody_is_best_and_it_is_said() -> None:
    members = [ended(0, HIGH, a=1.0), ended(1, FAST, t=1.0)]
    (found,) = judged_by(members)
    assert found.mode is None
    assert said(members, [found]) == [
        "objective: a or t (on which the members do not agree, type monitor=NAME)"
    ]


def test_the_best_is_told_with_its_figure_its_direction_and_its_values() -> None:
    members = [ended(0, a=0.5), ended(1, a=0.25), ended(2, a=0.5)]
    assert said(members, [HIGH]) == [
        "objective: a, higher is better (by its name)",
        "best: job 0  a=0.5  params.lr=0  (and as good: job 2)",
    ]


def test_it_holds_each_member_with_what_was_asked_and_what_came_of_it() -> None:
    folder = Path.cwd() / "mine" / "0"
    folder.mkdir(parents=True)
    attempts = [{"number": 1, "cause": "hang", "reason": "no step for 3 s", "first_step": 0, "last_step": 4}]
    run = {"run_id": "mine-0", "metrics": {"val_loss": 0.5}, "attempts": attempts}
    (folder / "run.json").write_text(json.dumps(run))
    over = MemberOutcome(0, ("params.lr=1",), "finished", 0, folder, ("val_loss", 0.5), 2.5, "finished")
    judged = Objective("val_loss", "min", "by its name")
    content = json.loads(write(folder.parent, [over], [judged], 0).read_text())
    assert (content["sweep_id"], content["status"], content["exit_code"]) == ("mine", "finished", 0)
    assert content["best"] == [0]
    assert (content["objectives"], content["reason"]) == ({"val_loss": "minimize"}, "by its name")
    (found,) = content["members"]
    assert found["overrides"] == ["params.lr=1"]
    assert found["attempts"][0]["cause"] == "hang"
    assert (found["run_id"], found["metrics"], found["seconds"]) == ("mine-0", {"val_loss": 0.5}, 2.5)
