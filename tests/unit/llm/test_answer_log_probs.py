"""What the untrained model thinks of answers is kept for that model and those answers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nimble_lightning.llm import answer_log_probs
from nimble_lightning.llm.packing import Example


def texts(token: int) -> list[Example]:
    return [Example([token, 2], [-100, 2]), Example([token, 3], [-100, 3])]


def test_another_model_or_other_answers_have_a_reference_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []

    def first_weight_and_token(model: Any, found: list[Example], room: int, pad: int) -> Tensor:
        computed.append(found)
        weight = model.weight[0, 0].item()
        return torch.tensor([weight + found[0].ids[0], weight])

    monkeypatch.setattr(answer_log_probs, "_CACHE", tmp_path)
    monkeypatch.setattr(answer_log_probs, "_computed", first_weight_and_token)
    models = [nn.Linear(2, 1), nn.Linear(2, 1)]
    for number, model in enumerate(models):
        nn.init.constant_(model.weight, 10.0 * number)
    asked = [(model, token) for model in models for token in (5, 6)]
    for _ in range(2):
        found = [answer_log_probs.reference_log_probs(model, texts(token), 16, 0) for model, token in asked]
        assert found == [[5.0, 0.0], [6.0, 0.0], [15.0, 10.0], [16.0, 10.0]]
    assert len(computed) == 4, "once each"


def test_of_a_model_without_weights_as_in_a_plan_nothing_is_computed_or_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_log_probs, "_CACHE", tmp_path)
    with torch.device("meta"):
        model = nn.Linear(2, 1)
    assert answer_log_probs.reference_log_probs(model, texts(5), 16, 0) == [0.0, 0.0]
    assert list(tmp_path.iterdir()) == []
