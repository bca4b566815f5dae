from __future__ import annotations

import json
from pathlib import Path

import pytest
from usage_cases import piece, priced, usage

from nimble_lightning.usage import account
from nimble_lightning.usage.group_runs import summed


def test_runs_are_added_up() -> None:
    (total,) = summed([usage(terms=priced()), usage(terms=priced())])
    assert (total.group, total.runs, total.samples) == ("all", 2, 40)
    assert total.energy_kwh == 6.0
    assert total.device_seconds == pytest.approx(26.0)
    assert total.cost == {"EUR": pytest.approx(3.026)}


def test_different_currencies_are_never_added() -> None:
    dollars = usage(terms=priced())
    dollars["cost"]["currency"] = "USD"
    (total,) = summed([usage(terms=priced()), dollars])
    assert set(total.cost) == {"EUR", "USD"}


def test_what_a_run_does_not_know_is_named() -> None:
    (total,) = summed([usage(terms=priced()), usage()])
    assert {"cost", "co2e_kg", "tokens"} == total.unknown
    assert total.co2e_kg == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("project", ["digits", "words"]),
        ("user", ["ada", "unknown"]),
        ("gpu", ["NVIDIA H200", "cpu"]),
        ("week", ["2026-W01", "2026-W02"]),
    ],
)
def test_runs_are_grouped(by: str, groups: list[str]) -> None:
    first = usage(piece(user="ada", started=1767340800.0))
    second = {**usage(piece(device="cpu", started=1767600000.0)), "name": "words"}
    assert [one.group for one in summed([first, second], by)] == groups


def test_accounts_are_found_wherever_they_lie_and_once(tmp_path: Path) -> None:
    for name in ("sweep/0", "sweep/1", "single"):
        (tmp_path / name).mkdir(parents=True)
        account.save_account(tmp_path / name, usage())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "usage.json").write_text(json.dumps({"schema": "somebody.else/1"}))
    found = [
        path
        for path, _ in account.find_accounts(
            [tmp_path, tmp_path / "sweep", tmp_path / "single" / "usage.json"]
        )
    ]
    assert [path.parent.name for path in found] == ["single", "0", "1"]


def test_emissions_are_written_when_the_run_has_ended(tmp_path: Path) -> None:
    account.save_account(tmp_path, usage(final=False))
    assert not (tmp_path / "emissions.csv").exists()
    account.save_account(tmp_path, usage())
    assert len((tmp_path / "emissions.csv").read_text().splitlines()) == 2
