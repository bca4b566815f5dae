from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from nimble_lightning.commands import main
from nimble_lightning.usage.account import UsageSubject, account, save_account
from nimble_lightning.usage.prices import Prices, UsageTerms
from nimble_lightning.usage.rank_record import RankRecord


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs of one project and one of another, which knows no price."""
    terms = UsageTerms(Prices(gpu_hour=3.6, currency="EUR"), grid=500)
    leave(tmp_path / "digits" / "0", "digits", terms)
    leave(tmp_path / "digits" / "1", "digits", terms)
    leave(tmp_path / "words", "words", UsageTerms())
    return tmp_path


def leave(folder: Path, name: str, terms: UsageTerms) -> dict[str, Any]:
    folder.mkdir(parents=True)
    told = RankRecord(
        started=1e9, seconds={"step": 1000.0}, last_step=5, samples=50, joules={"cpu": 3.6e6, "ram": 0.0}
    )
    usage = account(UsageSubject("r", name, final=True), [told], terms)
    save_account(folder, usage)
    return usage


def asked(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    assert main.main(["usage", *map(str, words)]) == code
    streams = capsys.readouterr()
    return streams.out if code == 0 else streams.err + streams.out


def test_a_table_sums_each_group(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = asked(capsys, runs, "--by", "project").splitlines()
    assert lines[0].split() == ["runs", "wall", "devices", "samples", "tokens", "energy", "cost", "CO2e"]
    assert lines[1].split("  ")[0] == "digits"
    assert "2.00 EUR" in lines[1]
    assert "33 min 20 s" in lines[1]
    assert lines[2].split()[-2:] == ["-", "-"], "no price, no grid: nothing is made up"


def test_without_a_group_there_is_one_sum_with_stars_where_something_is_missing(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = asked(capsys, runs)
    assert "2.00 EUR*" in text
    assert "* some runs do not know this figure" in text


def test_json_and_csv_are_for_programs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_project = json.loads(asked(capsys, runs, "--by=project", "--json"))
    assert [(one["group"], one["runs"]) for one in by_project] == [("digits", 2), ("words", 1)]
    assert by_project[0]["cost"] == {"EUR": pytest.approx(2.0)}
    rows = list(csv.DictReader(io.StringIO(asked(capsys, runs, "--csv", "--by", "project"))))
    assert [(row["group"], row["currency"]) for row in rows] == [("digits", "EUR"), ("words", "")]
    assert float(rows[0]["device_seconds"]) == 2000.0


def test_several_places_may_be_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (total,) = json.loads(asked(capsys, runs / "words", runs / "digits" / "1" / "usage.json", "--json"))
    assert total["runs"] == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--by", "projct", "."], "did you mean project?"),
        (["--by"], "--by: expected one argument"),
        ([], "usage needs DIR. Usage: nimble-cli usage"),
        (["--xml", "."], "usage has no option --xml"),
        (["no/such/folder"], "no/such/folder does not exist"),
        (["."], "There is no usage.json in ."),
    ],
)
def test_what_cannot_be_done_is_said(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in asked(capsys, *words, code=2)


def test_an_account_can_be_sent_later(
    runs: Path, capsys: pytest.CaptureFixture[str], httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    httpserver.expect_request("/runs", method="POST").respond_with_data("")
    assert asked(capsys, runs, "--send", httpserver.url_for("/runs")).count(": sent") == 3
    monkeypatch.setenv("WHERE", httpserver.url_for("/runs"))
    job = "callbacks: {usage_report: {report_to: '${oc.env:WHERE}'}}"
    (runs / "words" / "job.yaml").write_text(job)
    assert "sent" in asked(capsys, runs / "words", "--send", "--trust")
    assert len(httpserver.log) == 4


def test_an_account_that_goes_nowhere_is_not_sent(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Name an address" in asked(capsys, runs / "words", "--send", "--trust", code=2)


def test_what_did_not_arrive_is_a_failure(
    runs: Path, capsys: pytest.CaptureFixture[str], httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/runs").respond_with_data("", status=500)
    assert "answered 500" in asked(capsys, runs / "words", "--send", httpserver.url_for("/runs"), code=1)
