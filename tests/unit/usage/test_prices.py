from __future__ import annotations

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.usage.carbon import grid_of
from nimble_lightning.usage.prices import Budget, Prices, UsageTerms, made


def test_prices_come_from_a_mapping() -> None:
    assert made(Prices, {"gpu_hour": 2, "currency": "EUR"}, "prices") == Prices(2, None, "EUR")
    assert made(Prices, None, "prices") == Prices()


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (Prices, {"gpu_hours": 2}, "There is no x.gpu_hours; it takes gpu_hour"),
        (Prices, {"gpu_hour": "two"}, "prices.gpu_hour='two': expected a number"),
        (Prices, {"kwh": -1}, "prices.kwh=-1"),
        (Prices, 2.5, "x=2.5: expected {gpu_hour"),
        (Budget, {"max_time": "soon"}, "budget.max_time='soon'"),
        (Budget, {"max_cost": float("nan")}, "budget.max_cost=nan"),
    ],
)
def test_what_cannot_be_meant_is_refused(kind: type, value: object, says: str) -> None:
    with pytest.raises(RequestError, match=says.replace("{", r"\{")):
        made(kind, value, "x")


def test_a_building_takes_no_less_than_its_computers() -> None:
    with pytest.raises(RequestError, match="pue=0.9"):
        UsageTerms(pue=0.9)


def test_the_budget_is_used_up_when_any_limit_is_reached() -> None:
    budget = Budget(max_cost=5, max_kwh=2, max_time="1h")
    assert budget.used_up(4.9, 1.9, 3599) is None
    assert "budget is used up: max_cost is 5" in str(budget.used_up(5.0, 1.0, 1))
    assert "max_kwh is 2 kWh" in str(budget.used_up(None, 2.5, 1))
    assert "max_time is 3600 s" in str(budget.used_up(None, None, 3600))


def test_what_is_unknown_uses_nothing_up() -> None:
    assert Budget(max_cost=0.0).used_up(None, None, 1e9) is None


def test_a_grid_is_a_number_or_a_country_with_its_source() -> None:
    assert grid_of(None) is None
    own = grid_of(350)
    assert own is not None
    assert (own.grams, own.code) == (350.0, "")
    france = grid_of("fr")
    assert france is not None
    assert (france.grams, france.country) == (56.0, "France")
    assert "2023" in france.note
    assert "Ember" in france.note
    assert grid_of("FRA") == france


def test_a_country_that_is_not_in_the_table_is_refused_with_those_that_are() -> None:
    with pytest.raises(RequestError, match="grid='XX'.* SE, "):
        grid_of("XX")
    with pytest.raises(RequestError, match="0 or more"):
        grid_of(-1)
