"""What a run is judged by: what was asked, else what torchmetrics says, else what the name says."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.objective import Objective, choose, from_json


def told(*names: str, **asked: object) -> str:
    return str(choose(names, **asked))  # type: ignore[arg-type]


def test_the_monitor_is_followed_and_its_name_says_which_way_is_better() -> None:
    assert told("val_loss", "accuracy", monitor="accuracy") == "accuracy, higher is better (by its name)"
    assert (
        told("val_loss", "accuracy", monitor="accuracy", mode="min") == "accuracy, lower is better (as asked)"
    )


def test_the_validation_loss_comes_before_the_first_figure() -> None:
    assert told("accuracy", "val_loss") == "val_loss, lower is better (by its name)"
    assert told("val/acc", "val/loss") == "val/loss, lower is better (by its name)"
    assert told("accuracy", "f1") == "accuracy, higher is better (by its name)"
    assert choose([]) is None


def test_torchmetrics_comes_before_the_name_and_after_what_was_asked() -> None:
    stated = {"score": False, "zorp": True}
    assert told("score", higher_is_better=stated) == "score, lower is better (as torchmetrics says)"
    assert told("zorp", higher_is_better=stated) == "zorp, higher is better (as torchmetrics says)"
    assert (
        told("zorp", mode="min", monitor="zorp", higher_is_better=stated)
        == "zorp, lower is better (as asked)"
    )


def test_a_mode_alone_chooses_among_the_figures_it_fits() -> None:
    assert told("val_loss", "accuracy", mode="max") == "accuracy, higher is better (as asked)"
    assert told("mean_gap", mode="min") == "mean_gap, lower is better (as asked)"
    with pytest.raises(
        RequestError, match="no metric that is better lower, among accuracy\n.*monitor=accuracy mode=min"
    ):
        choose(["accuracy"], mode="min")


def test_where_nobody_knows_that_is_said_with_what_to_type() -> None:
    found = choose(["mean_gap"])
    assert found is not None
    assert found.mode is None
    assert str(found) == "mean_gap (not known to be better lower or higher, type mode=min or mode=max)"
    with pytest.raises(RequestError, match="Add mode=min or mode=max"):
        _ = found.required_mode


def test_a_monitor_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        RequestError, match="monitor=acuracy: There is no metric acuracy; did you mean accuracy?"
    ):
        choose(["val_loss", "accuracy"], "acuracy")


def test_ranks_are_better_lower_and_no_number_has_none() -> None:
    assert Objective("a", "max", "").rank(0.5) == -0.5
    assert Objective("a", "min", "").rank(0.5) == 0.5
    assert [Objective("a", "max", "").rank(value) for value in (math.nan, math.inf, -math.inf)] == [None] * 3


@pytest.mark.parametrize("mode", ["min", "max", None])
def test_a_record_gives_back_what_it_was_given(mode: str | None) -> None:
    objective = Objective("a", mode, "why")  # type: ignore[arg-type]
    assert from_json({**objective.to_json(), "step": 3}) == objective
    assert from_json({"metric": "a", "mode": "sideways"}) == Objective("a", None, "")
    assert [from_json(given) for given in (None, {}, "x", {"metric": ""})] == [None] * 4


def test_asking_needs_no_torch() -> None:
    code = "import sys, nimble_lightning.ops.objective; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
