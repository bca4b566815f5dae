"""What the untrained model thinks of the pairs is kept for that model and those pairs alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nimble_lightning.llm import dpo
from nimble_lightning.llm.packing import Example
from nimble_lightning.llm.preference_pairs import Pair, PairRows


class Computing(dpo.DPO):
    """Its reference is the first weight of a model and the first token of each answer."""

    _loss = "sigmoid"

    def __init__(self) -> None:
        self.computed = 0

    def _computed(self, model: Any, rows: PairRows) -> Tensor:
        self.computed += 1
        weight = model.weight[0, 0].item()
        return torch.tensor([[weight + pair.chosen.ids[0], weight] for pair in rows.pairs])


def rows(token: int) -> PairRows:
    return PairRows([Pair(Example([token, 2], [-100, 2]), Example([token, 3], [-100, 3]))], 16)


def test_another_model_or_other_pairs_have_a_reference_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dpo, "_CACHE", tmp_path)
    trainer, models = Computing(), [nn.Linear(2, 1), nn.Linear(2, 1)]
    for number, model in enumerate(models):
        nn.init.constant_(model.weight, 10.0 * number)
    asked = [(model, token) for model in models for token in (5, 6)]
    for _ in range(2):
        found = [trainer._with_reference(model, rows(token)).pairs[0].reference for model, token in asked]
        assert found == [(5.0, 0.0), (6.0, 0.0), (15.0, 10.0), (16.0, 10.0)]
    assert trainer.computed == 4, "once each"
