"""Preference optimization: a language model learns which of two answers is the better one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn
from torchmetrics import MeanMetric

from nimble_lightning.llm import causal_lm, preference_losses
from nimble_lightning.llm.answer_log_probs import answer_log_probs, reference_log_probs
from nimble_lightning.llm.isolation import causal_model
from nimble_lightning.llm.preference_pairs import AnswerRows, Pair, collate_pairs, read_pairs
from nimble_lightning.llm.preference_setup import divided, load_policy
from nimble_lightning.trainer import NimbleTrainer

log = logging.getLogger(__name__)


class DPO(NimbleTrainer):
    """Trains a causal language model of transformers on pairs of answers.

    What the model thought of them before is computed once and kept: there is no second model.
    """

    def pre_process(
        self,
        *,
        model: str,
        data: Any,
        eval_data: Any = None,
        eval_share: float = 0.05,
        loss: Literal["sigmoid", "ipo", "orpo"] = "sigmoid",
        beta: float = 0.1,
        longest: int | None = None,
        template: str | None = None,
        stop: str | None = None,
        rank: int = 0,
        alpha: int | None = None,
        dropout: float = 0.0,
        targets: str | list[str] = "all-linear",
        dora: bool = False,
    ) -> None:
        """Read the pairs, load the model, and note what it thinks of them.

        Args:
            model: A name of the Hub, a folder, or the folder of a run.
            data: A file (.jsonl, .json, .parquet), a folder, or a list of {path}: prompt, chosen, rejected.
            eval_data: The same, to evaluate on; None: every so many of the pairs are kept for that.
            eval_share: How many of them, where `eval_data` is None.
            loss: "sigmoid" is DPO's own; "orpo" needs no reference.
            beta: How much it costs to leave the reference; of ORPO, how much the odds weigh.
            longest: Tokens of a row; None: as the model can, up to 2,048.
            template: A file with another chat template.
            stop: The token that ends an answer, if the tokenizer and the model do not say.
            rank: Of a LoRA adapter, which then is all that is trained; 0: the whole model.
            alpha: How much the adapter weighs; None: twice the rank.
            dropout: Of the adapter.
            targets: The layers it is for.
            dora: Whether it learns how long weights are apart from where they point.
        """
        self._loss, self._beta = loss, beta
        policy = load_policy(model, longest, template, stop, "DPO")
        self.tokenizer, whole, room = policy.tokenizer, policy.model, policy.room
        pairs, held_out = divided(
            data, eval_data, eval_share, lambda path: read_pairs(path, policy.encoder, room), "pairs"
        )
        self.train_data = self._with_reference(whole, AnswerRows(pairs, room))
        self.eval_data = self._with_reference(whole, AnswerRows(held_out, room)) if held_out else None
        log.info("%d pairs in rows of %d tokens, %d to evaluate on", len(pairs), room, len(held_out))
        self.model = causal_lm.with_adapter(whole, rank, alpha, dropout, targets, dora=dora, name=model)
        self.val_loss, self.accuracy, self.margin = MeanMetric(), MeanMetric(), MeanMetric()

    def collate(self, rows: Sequence[Sequence[Pair]]) -> dict[str, Tensor]:
        """Rows as tensors."""
        return collate_pairs(rows, self.tokenizer.pad_token_id or 0)

    def train(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        """The mean loss of the pairs, and how many there are."""
        losses, _ = self._losses(batch)
        return losses.mean(), losses.numel()

    def evaluate(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        """The same, how many pairs are ordered rightly, and how far apart their answers are."""
        losses, margins = self._losses(batch)
        self.val_loss.update(losses.float())
        self.accuracy.update((margins > 0).float())
        self.margin.update(margins.float())
        return {"loss": self.val_loss, "accuracy": self.accuracy, "margin": self.margin}

    def _losses(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Of each pair its loss, and the margin by which the better answer is ahead of the reference's."""
        reference = batch["reference"]
        there = ~reference[:, 0::2].isnan()
        sums, counts = answer_log_probs(causal_model(self.model), batch, reference.shape[1])
        chosen, rejected = ((sums[:, part::2])[there] for part in (0, 1))
        if self._loss == "orpo":
            tokens, others = ((counts[:, part::2])[there] for part in (0, 1))
            odds = preference_losses.orpo(chosen / tokens, rejected / others, self._beta)
            return odds - chosen / tokens, chosen / tokens - rejected / others
        chosen = chosen - reference[:, 0::2][there]
        rejected = rejected - reference[:, 1::2][there]
        margins = self._beta * (chosen - rejected).detach()
        if self._loss == "ipo":
            tokens, others = ((counts[:, part::2])[there] for part in (0, 1))
            return preference_losses.ipo(chosen / tokens, rejected / others, self._beta), margins
        return preference_losses.dpo(chosen, rejected, self._beta), margins

    def _with_reference(self, model: nn.Module, rows: AnswerRows[Pair]) -> AnswerRows[Pair]:
        """The pairs with what the untrained model thinks of them; computed once for the same of both."""
        if self._loss == "orpo":
            return rows
        texts = [text for pair in rows.answers for text in (pair.chosen, pair.rejected)]
        values = reference_log_probs(model, texts, rows.room, self.tokenizer.pad_token_id or 0)
        told = zip(rows.answers, values[::2], values[1::2], strict=True)
        return AnswerRows([replace(pair, reference=(one, two)) for pair, one, two in told], rows.room)
