"""The account on the page says what is known, with its doubts, and nothing of the rest."""

from __future__ import annotations

from nimble_lightning.report import usage_section

FIGURE = {"value": 2.5, "kind": "estimated", "note": "by the counter"}


def test_figures_carry_their_doubts() -> None:
    found = usage_section.figures({"energy_kwh": {"total": FIGURE, "gpu": {"value": None}}, "mfu": 0.4})
    assert [(f.name, f.text, f.kind, f.note) for f in found] == [
        ("MFU", "40 %", "", ""),
        ("energy", "2.5 kWh", "estimated", "by the counter"),
    ]


def test_operations_are_counted_in_large_units() -> None:
    assert [f.text for n in (5.18e10, 3.2e17, 12) for f in usage_section.figures({"flops": n})] == [
        "51.8 GFLOP",
        "320 PFLOP",
        "12 FLOP",
    ]


def test_cost_is_in_the_users_currency() -> None:
    cost = usage_section.cost({"cost": {"amount": FIGURE, "currency": "EUR"}})
    assert cost is not None
    assert cost.text == "2.5 EUR"
    assert usage_section.cost({"cost": {"amount": {"value": None}, "currency": "EUR"}}) is None


def test_the_parts_of_the_time_fill_the_bar() -> None:
    parts = usage_section.parts({"time": {"step": 60, "data": 30, "hang": 0, "new": 10, "odd": "x"}})
    assert [(p.name, p.begin, p.width) for p in parts] == [
        ("training steps", 0, 60),
        ("waiting for data", 60, 30),
        ("new", 90, 10),
    ]


def test_an_account_of_another_shape_is_no_account() -> None:
    assert usage_section.figures({"energy_kwh": "much", "cost": 5, "time": [], "steps": True}) == []
    assert usage_section.parts({"time": "long"}) == []


def test_tokens_a_second_are_those_while_training_and_waiting_for_data() -> None:
    tokens = {"value": 5000, "kind": "measured", "note": ""}
    found = usage_section.figures({"tokens": tokens, "time": {"step": 8.0, "data": 2.0, "start": 99.0}})
    assert [(f.name, f.text) for f in found] == [("tokens", "5,000"), ("tokens a second", "500")]
    assert [f.name for f in usage_section.figures({"tokens": tokens, "time": "long"})] == ["tokens"]
