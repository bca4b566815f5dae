"""`nimble-cli report` makes a page of whatever folder it is given, or says what it expected."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nimble_lightning.commands.report import report, written
from nimble_lightning.errors import RequestError
from nimble_lightning.sweeps import summary_table
from nimble_lightning.sweeps.outcomes import MemberOutcome


def run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"run_id": "x", "status": "finished", "metrics": {"a": 1.0}}))
    return folder


def test_the_page_of_a_run_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(Path("outputs/digits/x"))
    assert report([str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder.resolve() / "report.html")


def test_a_sweep_gets_its_own_page_and_one_for_each_member() -> None:
    for number in range(2):
        run(Path("sweep") / str(number))
    assert written(Path("sweep")).parent.name == "sweep"
    assert all((Path("sweep") / str(number) / "report.html").exists() for number in range(2))


def test_in_another_project_the_newest_metrics_are_found() -> None:
    for version, moment in (("version_0", 2000), ("version_1", 1000)):
        table = Path("project/lightning_logs") / version / "metrics.csv"
        table.parent.mkdir(parents=True)
        table.write_text("epoch,step,loss\n0,1,0.5\n")
        os.utime(table, (moment, moment))
    assert written(Path("project")).parent.name == "version_0"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "report needs DIR"),
        (["--all"], "report has no option --all"),
        (["gone"], "no folder gone"),
        (["."], "holds no run"),
    ],
)
def test_anything_else_is_refused_with_what_was_expected(words: list[str], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        report(words)


def test_a_sweep_that_has_ended_names_its_page(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [MemberOutcome(n, (), "finished", 0, run(Path("sweep") / str(n))) for n in range(2)]
    summary_table.write_page(outcomes, wanted=False)
    assert not Path("sweep/report.html").exists()
    summary_table.write_page(outcomes, wanted=True)
    assert capsys.readouterr().out.strip().endswith("sweep/report.html")


def test_a_sweep_whose_page_fails_has_ended_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    Path("sweep/report.html").mkdir(parents=True)
    summary_table.write_page([MemberOutcome(0, (), "finished", 0, run(Path("sweep/0")))], wanted=30)
    assert "the page could not be written" in capsys.readouterr().err
