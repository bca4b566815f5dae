"""What an evaluation on two ranks comes to where all of them see the same samples."""

from __future__ import annotations

import pytest
import torch
from two_threads import TwoThreads

from nimble_lightning.adapters import evaluation, predictions
from nimble_lightning.adapters.evaluator import Evaluator
from nimble_lightning.adapters.global_step import PieceLoss
from nimble_lightning.adapters.user_trainer import UserTrainer
from nimble_lightning.trainer import NimbleTrainer

CPU = torch.device("cpu")


class Counting(NimbleTrainer):
    def train(self, batch): ...

    def evaluate(self, batch):
        return {"logits": batch, "labels": batch > 0}

    def compute_metrics(self, eval_pred):
        return {"samples": len(eval_pred.predictions), "right": float(eval_pred.label_ids.sum())}


def test_predictions_for_samples_that_every_rank_sees_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = TwoThreads()
    for module in (evaluation, predictions):
        monkeypatch.setattr(module, "everyones", ranks.everyones)
    monkeypatch.setattr(predictions, "gathered_by_first", ranks.first)

    def evaluate(rank: int) -> dict[str, float]:
        user = UserTrainer(Counting, {})
        evaluator = Evaluator(user, PieceLoss(lambda batch: None))
        for batch in torch.tensor([[-1.0], [2.0]]):
            evaluator.add(batch, "evaluate", "", repeated=True, rank=rank)
        return evaluator.figures([""], CPU, None, "eval")

    assert ranks.run(evaluate) == [{"samples": 2, "right": 1.0}] * 2
