from __future__ import annotations

import json
from importlib.resources import files

import jsonschema
import pytest
from usage_cases import attempt, piece, priced, usage

from nimble_lightning.usage.account_table import table
from nimble_lightning.usage.prices import UsageTerms

SCHEMA = json.loads(files("nimble_lightning.usage").joinpath("usage.schema.json").read_text())


@pytest.mark.parametrize(
    "account",
    [
        usage(),
        usage(terms=priced()),
        usage(terms=UsageTerms(grid="FR", pue=1.5, peak_flops=1e12)),
        usage(piece(tokens=5.0, flops=1e12, peak_flops=1e13, total=40, done=10), final=False),
        usage(piece(joules={}, sources={}, device="cpu")),
        usage(recorded=[attempt(1, 0.0, 5.0), attempt(2, 6.0, None)]),
    ],
)
def test_an_account_is_what_its_schema_says(account: dict) -> None:
    jsonschema.validate(json.loads(json.dumps(account)), SCHEMA, jsonschema.Draft202012Validator)


def test_the_schema_refuses_what_is_no_account() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**usage(), "mfu": 0.5}, SCHEMA, jsonschema.Draft202012Validator)


def test_the_time_adds_up_and_goodput_is_the_share_of_useful_steps() -> None:
    account = usage(recorded=[attempt(1, 95.0, 120.0, last_step=10), attempt(2, 122.0, 140.0, first_step=5)])
    assert account["wall_seconds"] == pytest.approx(45.0)
    assert sum(account["time"].values()) == pytest.approx(45.0)
    assert account["time"]["retry"] == pytest.approx(2.0)
    assert account["goodput"] == pytest.approx(account["time"]["step"] / 45.0, abs=1e-4)
    assert (account["steps"], account["lost_steps"]) == (5, 5)


def test_every_attempt_holds_all_its_devices() -> None:
    ranks = [piece(rank=rank, world_size=4) for rank in range(4)]
    account = usage(
        *ranks, recorded=[attempt(1, 100.0, 120.0), attempt(2, 120.0, 130.0, "finished")], ranks=4
    )
    assert account["device_seconds"] == pytest.approx(120.0), "an attempt that told nothing held them as well"
    assert account["devices"] == [{"name": "NVIDIA H200", "count": 4}]


def test_samples_and_tokens_count_once_however_often_they_were_trained() -> None:
    recorded = [attempt(1, 100.0, 113.0, last_step=10), attempt(2, 113.0, 126.0, first_step=5, last_step=10)]
    again = piece(2, started=113.0, first_step=5, last_step=10, samples=10, tokens=500.0)
    account = usage(piece(1, tokens=1000.0), again, recorded=recorded)
    assert (account["samples"], account["tokens"]["value"]) == (20, 1000)


def test_samples_of_steps_that_only_the_supervisor_heard_of_count() -> None:
    recorded = [attempt(1, 100.0, 115.0, last_step=12), attempt(2, 115.0, 120.0, first_step=12, last_step=12)]
    assert usage(piece(1, last_step=10, samples=20), recorded=recorded)["samples"] == 24


def test_energy_says_how_far_each_part_can_be_trusted() -> None:
    energy = usage()["energy_kwh"]
    assert (energy["gpu"]["value"], energy["gpu"]["kind"]) == (2.0, "measured")
    assert (energy["cpu"]["value"], energy["cpu"]["kind"]) == (0.5, "estimated")
    assert (energy["total"]["value"], energy["total"]["kind"]) == (3.0, "estimated")


def test_energy_nobody_could_read_is_unknown_and_the_sum_says_so() -> None:
    energy = usage(piece(joules={"gpu": None, "cpu": 3.6e6, "ram": None}))["energy_kwh"]
    assert energy["gpu"]["value"] is None
    assert energy["total"]["value"] == 1.0
    assert "gpu" in energy["total"]["note"]


def test_the_building_takes_its_share() -> None:
    total = usage(terms=UsageTerms(pue=1.5))["energy_kwh"]["total"]
    assert (total["value"], total["kind"]) == (4.5, "assumed")


def test_the_cost_is_made_of_the_users_prices_alone() -> None:
    cost = usage(terms=priced())["cost"]
    assert cost["amount"]["value"] == pytest.approx(13.0 / 3600 * 3.6 + 3.0 * 0.5)
    assert (cost["amount"]["kind"], cost["currency"]) == ("assumed", "EUR")
    assert usage()["cost"]["amount"]["value"] is None


def test_emissions_need_a_grid() -> None:
    assert usage(terms=priced())["co2e_kg"]["value"] == pytest.approx(1.2)
    assert usage()["co2e_kg"]["value"] is None


def test_mfu_is_what_was_done_over_what_could_have_been() -> None:
    mfu = usage(piece(flops=5.5e12, peak_flops=1e12))["mfu"]
    assert mfu["value"] == pytest.approx(0.5)
    assert usage(piece(flops=1e12))["mfu"]["value"] is None


def test_what_is_left_follows_from_the_pace_so_far() -> None:
    left = usage(piece(done=10, total=30), terms=priced(), final=False)["to_go"]
    assert left["seconds"]["value"] == pytest.approx(22.0)
    assert left["energy_kwh"]["value"] == pytest.approx(3.0 * 22 / 13)
    ranks = [piece(rank=rank, world_size=4, done=10, total=30) for rank in range(4)]
    left = usage(*ranks, terms=priced(), final=False)["to_go"]
    # Four devices spent 4 x 13 s, and have 4 x 22 s to go.
    assert left["energy_kwh"]["value"] == pytest.approx(4 * 3.0 * 22 / 13)
    assert left["cost"]["value"] == pytest.approx(4 * (3.6 * 22 / 3600 + 0.5 * 3.0 * 22 / 13))
    assert usage(piece(done=10, total=30))["to_go"] is None, "nothing is left of a run that has ended"
    assert usage(piece(done=10, total=None), final=False)["to_go"] is None


def test_steps_of_attempts_that_told_nothing_are_named_beside_what_others_took() -> None:
    """As of a run whose usage was first asked for when it was trained further."""
    recorded = [
        attempt(1, 0.0, 20.0, "finished", last_step=12),
        attempt(2, 100.0, 113.0, "finished", first_step=12, last_step=22),
    ]
    account = usage(piece(attempt=2, first_step=12, last_step=22), recorded=recorded)
    assert (account["steps"], account["uncounted_steps"], account["samples"]) == (22, 12, 20)
    assert "told nothing took for 12 of the steps" in table(account)
    assert usage()["uncounted_steps"] == 0
    assert "told nothing" not in table(usage())


def test_a_run_without_a_word_has_an_account_too() -> None:
    account = usage(recorded=[attempt(1, 0.0, 4.0)], ranks=2)
    assert account["device_seconds"] == pytest.approx(4.0)
    assert account["steps"] == 10
