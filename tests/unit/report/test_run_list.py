"""Runs as they are found, filtered, sorted and compared, from folders made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import report_cases

from nimble_lightning.errors import RequestError
from nimble_lightning.report.comparison_page import compared
from nimble_lightning.report.folder_source import Doubts
from nimble_lightning.report.run_list import ListedRun, find_runs, ordered, varied, where


def left(folder: Path, lr: float, started: float = report_cases.BEGAN, **facts: Any) -> None:
    report_cases.run(folder, started=started, **facts)
    job = report_cases.JOB.replace("lr: 0.001", f"lr: {lr}")
    report_cases.write(folder / "job.yaml", job)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    left(tmp_path / "a" / "sweep" / "0", 0.1, metrics={"accuracy": 0.5, "global_step": 3})
    left(tmp_path / "a" / "sweep" / "1", 0.001, report_cases.BEGAN + 5, metrics={"accuracy": 0.9})
    left(tmp_path / "b" / "first", 0.01, status="failed", metrics={"val_loss": 0.25})
    return tmp_path


def found(place: Path) -> list[ListedRun]:
    doubts = Doubts()
    runs = find_runs([place], doubts)
    assert not doubts
    return runs


def names(runs: list[ListedRun]) -> list[str]:
    return [run.folder.name for run in runs]


def test_runs_are_found_at_any_depth_and_once_the_newest_first(place: Path) -> None:
    runs = find_runs([place, place / "a", place / "b" / "first"], Doubts())
    assert names(runs) == ["1", "0", "first"]


def test_what_lies_within_a_run_or_behind_a_link_is_not_listed(place: Path, tmp_path: Path) -> None:
    left(place / "b" / "first" / "checkpoints" / "inner", 1.0)
    (place / "elsewhere").symlink_to(place / "a")
    assert names(found(place)) == ["1", "0", "first"]


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("lr<1e-2", ["1"]),
        ("params.lr<=0.01", ["1", "first"]),
        ("lr = 0.1", ["0"]),
        ("lr!=0.1", ["1", "first"]),
        ("status=failed", ["first"]),
        ("status!=failed", ["1", "0"]),
        ("accuracy>=0.9", ["1"]),
        ("accuracy<0.9", ["0"]),
        ("val_loss<1", ["first"]),
    ],
)
def test_only_runs_that_have_it_meet_a_condition(place: Path, condition: str, kept: list[str]) -> None:
    assert names(where(found(place), condition)) == kept


@pytest.mark.parametrize(
    ("condition", "said"),
    [("lrr<1", "did you mean lr?"), ("lr", "expected NAME<VALUE"), ("lr<", "expected NAME<VALUE")],
)
def test_a_condition_that_cannot_be_meant_is_refused(place: Path, condition: str, said: str) -> None:
    with pytest.raises(RequestError, match=said.replace("?", r"\?")):
        where(found(place), condition)


@pytest.mark.parametrize(
    ("name", "order", "said"),
    [
        ("accuracy", ["1", "0", "first"], "higher is better"),
        ("val_loss", ["first", "1", "0"], "lower is better"),
        ("lr", ["0", "first", "1"], "highest first"),
    ],
)
def test_sorted_by_a_figure_the_best_is_first_and_the_direction_said(
    place: Path, name: str, order: list[str], said: str
) -> None:
    runs, by = ordered(found(place), name)
    assert names(runs) == order
    assert said in by


def test_the_direction_a_run_was_asked_for_counts_more_than_the_name(tmp_path: Path) -> None:
    best = {"metric": "accuracy", "mode": "min", "reason": "as asked"}
    for number, value in enumerate((0.9, 0.2)):
        left(tmp_path / str(number), 0.1, metrics={"accuracy": value}, best=best)
    assert names(ordered(found(tmp_path), "accuracy")[0]) == ["1", "0"]


def test_what_varies_is_what_differs_and_was_told(place: Path) -> None:
    assert varied(found(place)) == ["params.lr"]


@pytest.mark.parametrize("record", ["[1]", '{"metrics": {"a": {}}, "started": "x", "best": 3}', "{"])
def test_a_folder_with_something_else_in_it_stops_no_list(place: Path, record: str) -> None:
    (place / "b" / "first" / "run.json").write_text(record)
    runs = find_runs([place], Doubts())
    assert names(runs)[:2] == ["1", "0"]
    json.dumps([dict(run.fields) for run in runs])


@pytest.mark.parametrize("lacking", [0, 1, 2])
def test_of_compared_runs_the_best_is_marked_though_another_lacks_the_figure(
    lacking: int, tmp_path: Path
) -> None:
    for number, value in enumerate((0.5, 0.9, 0.7)):
        figures = {} if number == lacking else {"accuracy": value}
        left(tmp_path / str(number), 0.1, report_cases.BEGAN - number, metrics=figures)
    rows = {row.name: row for row in compared(found(tmp_path))}
    assert rows["accuracy"].cells[lacking] == "–"
    assert rows["accuracy"].best == {2 if lacking == 1 else 1}
