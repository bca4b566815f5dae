from __future__ import annotations

import yaml

from nimble_lightning.export.model_card import card

ABOUT = {
    "run": {"id": "first", "name": "digits", "step": 9},
    "model": {
        "name": "net",
        "class": "torch.nn.Linear",
        "trainer": "digits.py:Digits",
        "trainer_sha256": "ab",
    },
    "params": {"lr": 0.1, "key": "${oc.env:KEY}"},
    "versions": {"torch": "2"},
    "checks": {"safetensors": {"how": "reloaded", "max_difference": 0.0}},
    "files": {"model.safetensors": {"sha256": "cd", "bytes": 1}},
}
USAGE = {
    "co2e_kg": {"value": 0.5, "kind": "estimated", "note": "n"},
    "energy_kwh": {"total": {"value": 2.0, "kind": "measured", "note": "n"}},
    "device_seconds": 7200,
    "devices": [{"name": "H200", "count": 1}],
}
RUN = {
    "metrics": {"accuracy": 0.98125, "a|b": 1},
    "attempts": [{"last_step": 9}],
    "verdict": {"summary": "good"},
}


def front(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_a_card_says_what_how_good_how_made_what_it_cost_and_how_to_check() -> None:
    text = card(ABOUT, RUN, USAGE, {"data": {"batch_size": 32}, "seed": 0})
    for said in (
        "| accuracy | 0.98125 |",
        "a\\|b",
        "Verdict: good.",
        "load_model(trainer.net",
        "digits.py:Digits",
    ):
        assert said in text
    for said in (
        "Batch size 32",
        "| device hours | 2 |",
        "2 (measured)",
        "cd  model.safetensors",
        "nimble-cli verify",
    ):
        assert said in text


def test_emissions_are_in_grams_for_the_hub() -> None:
    emissions = front(card(ABOUT, RUN, USAGE, {}))["co2_eq_emissions"]
    assert emissions["emissions"] == 500
    assert emissions["hardware_used"] == "H200"
    assert "estimated" in emissions["source"]


def test_without_an_account_nothing_is_said_of_emissions() -> None:
    for usage in ({}, {"co2e_kg": None}, {"co2e_kg": {"value": None, "kind": "estimated"}}):
        text = card(ABOUT, RUN, usage, {})
        assert "co2_eq_emissions" not in front(text)
        assert "What it took" not in text


def test_references_to_secrets_stay_references() -> None:
    assert "${oc.env:KEY}" in card(ABOUT, RUN, {}, {})


def test_a_hugging_face_model_is_used_by_from_pretrained() -> None:
    about = {**ABOUT, "files": {"config.json": {"sha256": "a", "bytes": 1}}}
    text = card({**about, "model": {"class": "transformers.models.x.LlamaForCausalLM"}}, RUN, {}, {})
    assert "LlamaForCausalLM.from_pretrained" in text
    assert front(text)["library_name"] == "transformers"
