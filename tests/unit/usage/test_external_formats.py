from __future__ import annotations

import csv
import io

import pytest
from usage_cases import piece, priced, usage

from nimble_lightning.usage.account_table import duration, progress, table
from nimble_lightning.usage.external_formats import COLUMNS, co2_eq_emissions, emissions_csv
from nimble_lightning.usage.prices import UsageTerms


def test_the_row_has_codecarbons_columns_and_units() -> None:
    (row,) = csv.DictReader(io.StringIO(emissions_csv(usage(terms=UsageTerms(grid="DE")))))
    assert tuple(row) == COLUMNS
    assert len(COLUMNS) == 38
    assert (row["project_name"], row["run_id"], row["country_iso_code"]) == ("digits", "r1", "DEU")
    assert float(row["energy_consumed"]) == 3.0
    assert float(row["emissions"]) == pytest.approx(3.0 * 0.381)
    assert float(row["gpu_power"]) == pytest.approx(2 * 3.6e6 / 13.0)
    assert (row["gpu_count"], row["gpu_model"]) == ("1", "1 x NVIDIA H200")
    assert row["longitude"] == ""


def test_what_is_unknown_is_left_empty() -> None:
    (row,) = csv.DictReader(io.StringIO(emissions_csv(usage(piece(device="cpu", joules={})))))
    assert (row["emissions"], row["energy_consumed"], row["gpu_count"]) == ("", "", "0")


def test_a_model_card_gets_grams() -> None:
    emissions = co2_eq_emissions(usage(terms=UsageTerms(grid="FR")))
    assert emissions is not None
    assert emissions["emissions"] == pytest.approx(168.0)
    assert emissions["geographical_location"] == "France"
    assert emissions["hardware_used"] == "1 x NVIDIA H200"
    assert co2_eq_emissions(usage()) is None


def test_the_table_says_what_was_estimated_and_assumed() -> None:
    text = table(usage(piece(tokens=1234.0, flops=5.5e12, peak_flops=1e12), terms=priced()))
    assert "1.23 k tokens (112/s)" in text
    assert "13.0 s on 1 x NVIDIA H200" in text
    assert "cpu 0.5 kWh estimated" in text
    assert "1.51 EUR (0.003611 device hours at 3.6 and 3 kWh at 0.5)" in text
    assert "assumed: 400 g/kWh as given" in text
    assert "MFU 50.0%" in text
    assert "step 77%" in text


def test_the_table_of_a_run_that_nothing_is_known_of_is_short() -> None:
    text = table(usage(piece(joules={}, device="cpu")))
    assert "energy  unknown" in text
    assert "cost" not in text


def test_a_line_tells_what_is_left() -> None:
    line = progress(usage(piece(done=10, total=30), terms=priced(), final=False))
    assert line.startswith("elapsed 13.0 s, 3 kWh, 1.51 EUR; left 22.0 s")


def test_lengths_of_time_read_well() -> None:
    assert [duration(s) for s in (0.04, 59.9, 245.0, 12_000.0)] == [
        "0.0 s",
        "59.9 s",
        "4 min 05 s",
        "3 h 20 min",
    ]
