"""Preference optimization without pairs: a language model learns from single answers that are rated."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from nimble_lightning.adapters.out_of_memory import in_words, is_out_of_memory
from nimble_lightning.llm import causal_lm, preference_losses
from nimble_lightning.llm.answer_log_probs import answer_log_probs, reference_log_probs
from nimble_lightning.llm.isolation import causal_model, evaluating
from nimble_lightning.llm.preference_pairs import AnswerRows
from nimble_lightning.llm.preference_setup import divided, load_policy
from nimble_lightning.llm.rated_answers import (
    RatedAnswer,
    UnrelatedAnswers,
    collate_rated,
    read_rated,
    with_unrelated,
)
from nimble_lightning.ops.batches import split
from nimble_lightning.ranks import world_size
from nimble_lightning.trainer import NimbleTrainer

log = logging.getLogger(__name__)

# What the weights of both kinds should come to, by the paper.
_BALANCED = (1.0, 4 / 3)


class KTO(NimbleTrainer):
    """Trains a causal language model of transformers on answers that are desirable or not.

    How far the model has moved from the reference is a figure of a batch: of all its pieces, on all ranks.
    """

    def pre_process(
        self,
        *,
        model: str,
        data: Any,
        eval_data: Any = None,
        eval_share: float = 0.05,
        beta: float = 0.1,
        desirable_weight: float = 1.0,
        undesirable_weight: float = 1.0,
        longest: int | None = None,
        template: str | None = None,
        stop: str | None = None,
        rank: int = 0,
        alpha: int | None = None,
        dropout: float = 0.0,
        targets: str | list[str] = "all-linear",
        dora: bool = False,
    ) -> None:
        """Read the answers, load the model, and note what it thinks of them.

        Args:
            model: A name of the Hub, a folder, or the folder of a run.
            data: A file (.jsonl, .json, .parquet), a folder, or a list of {path}: texts with a label.
            eval_data: The same, to evaluate on; None: every so many of the answers are kept for that.
            eval_share: How many of them, where `eval_data` is None.
            beta: How much it costs to leave the reference.
            desirable_weight: Of answers whose label is true.
            undesirable_weight: Of the others.
            longest: Tokens of a row; None: as the model can, up to 2,048.
            template: A file with another chat template.
            stop: The token that ends an answer, if the tokenizer and the model do not say.
            rank: Of a LoRA adapter, which then is all that is trained; 0: the whole model.
            alpha: How much the adapter weighs; None: twice the rank.
            dropout: Of the adapter.
            targets: The layers it is for.
            dora: Whether it learns how long weights are apart from where they point.
        """
        self._beta, self._weights = beta, (desirable_weight, undesirable_weight)
        policy = load_policy(model, longest, template, stop, "KTO")
        self.tokenizer, whole, room = policy.tokenizer, policy.model, policy.room
        answers, held_out = divided(
            data, eval_data, eval_share, lambda path: read_rated(path, policy.encoder, room), "rated answers"
        )
        self.train_data = self._with_reference(whole, answers, room)
        self.eval_data = self._with_reference(whole, held_out, room) if held_out else None
        log.info(
            "%d answers in rows of %d tokens, %d to evaluate on; %s",
            *(len(answers), room, len(held_out), _balance(answers, self._weights)),
        )
        self.model = causal_lm.with_adapter(whole, rank, alpha, dropout, targets, dora=dora, name=model)
        self.figures = KTOFigures(beta, self._weights)

    def collate(self, rows: Sequence[Sequence[RatedAnswer]]) -> dict[str, Any]:
        """Rows as tensors, with the unrelated answers of the batch."""
        return collate_rated(rows, self.tokenizer.pad_token_id or 0)

    def train(self, batch: Mapping[str, Any]) -> tuple[Tensor, int]:
        """The mean loss of the answers, and how many there are."""
        unrelated: UnrelatedAnswers = batch["unrelated"]
        model = causal_model(self.model)
        if unrelated.divergence is None:
            unrelated.divergence = divergence(model, unrelated.batch, batch["input_ids"].shape[0])
            self.log("kl", unrelated.divergence)
        ahead, desirable = _ahead(model, batch)
        losses = preference_losses.kto(ahead, desirable, unrelated.divergence, self._beta, self._weights)
        return losses.mean(), losses.numel()

    def evaluate(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The loss by the divergence of all answers that are evaluated, and on which side of it they are."""
        model, unrelated = causal_model(self.model), batch["unrelated"].batch
        self.figures.update(*_ahead(model, batch), _summed(model, unrelated))
        return {"kto": self.figures}

    def _with_reference(
        self, model: nn.Module, answers: Sequence[RatedAnswer], room: int
    ) -> AnswerRows[RatedAnswer]:
        """The answers with what the untrained model thinks of them and of those to something else."""
        answers = with_unrelated(answers, room)
        texts = [text for answer in answers for text in (answer.text, answer.unrelated)]
        values = reference_log_probs(model, texts, room, self.tokenizer.pad_token_id or 0)
        told = zip(answers, values[::2], values[1::2], strict=True)
        return AnswerRows([replace(answer, reference=(one, two)) for answer, one, two in told], room)


class KTOFigures(Metric):
    """What KTO comes to over all answers: its loss depends on no batch and on no number of ranks.

    Args:
        beta: As in the loss.
        weights: As in the loss.
    """

    ahead: list[Tensor]
    desirable: list[Tensor]
    moved: Tensor

    def __init__(self, beta: float, weights: tuple[float, float]) -> None:
        super().__init__()
        self._beta, self._weights = beta, weights
        self.add_state("ahead", default=[], dist_reduce_fx="cat")
        self.add_state("desirable", default=[], dist_reduce_fx="cat")
        self.add_state("moved", default=torch.zeros(2), dist_reduce_fx="sum")

    def update(self, ahead: Tensor, desirable: Tensor, moved: Tensor) -> None:
        """Add answers, and the sum and number of the unrelated ones."""
        self.ahead.append(ahead.detach().float())
        self.desirable.append(desirable)
        self.moved += moved

    def compute(self) -> dict[str, Tensor]:
        """Of a margin, only where there are answers of both kinds."""
        ahead, desirable = dim_zero_cat(self.ahead), dim_zero_cat(self.desirable)
        kl = (self.moved[0] / self.moved[1]).clamp(min=0)
        losses = preference_losses.kto(ahead, desirable, kl, self._beta, self._weights)
        right = (ahead > kl) == desirable
        found = {"loss": losses.mean(), "kl": kl, "accuracy": right.float().mean()}
        if 0 < desirable.sum() < desirable.numel():
            apart = ahead[desirable].mean() - ahead[~desirable].mean()
            found["margin"] = self._beta * apart
        return found


def divergence(model: Any, unrelated: Mapping[str, Tensor], rows: int) -> Tensor:
    """The mean by which unrelated answers are likelier than to the reference, on all ranks; not below 0.

    Every rank must call this. Where one runs out of memory all do, so that all can try smaller pieces.

    Args:
        model: Of transformers.
        unrelated: Those of this rank's batch.
        rows: How many of its rows go through at once.
    """
    if world_size() == 1:
        total, count = _summed(model, unrelated, rows)
        return torch.clamp(total / count, min=0)
    pieces = torch.tensor(-(-unrelated["input_ids"].shape[0] // rows), device=unrelated["input_ids"].device)
    dist.all_reduce(pieces, dist.ReduceOp.MAX)
    reason = ""
    try:
        total, count = _summed(model, unrelated, rows, int(pieces))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = in_words(error)
        total = count = torch.zeros((), device=pieces.device)
    told = torch.stack([total, count, torch.full_like(total, float(bool(reason)))])
    dist.all_reduce(told)
    if told[2]:
        raise torch.OutOfMemoryError(reason or "on another rank")
    return torch.clamp(told[0] / told[1], min=0)


@torch.no_grad()
def _summed(model: Any, unrelated: Mapping[str, Tensor], rows: int | None = None, pieces: int = 0) -> Tensor:
    """The sum over unrelated answers and how many there are.

    Without dropout, so that a batch that is tried again gives the same, and no random number is used up.
    """
    cut = list(split(unrelated, rows or unrelated["input_ids"].shape[0]))
    found = torch.zeros(2, device=unrelated["input_ids"].device)
    with evaluating(model):
        # Layers may be spread over ranks: then all go through them equally often.
        for number in range(max(len(cut), pieces)):
            piece = cut[min(number, len(cut) - 1)]
            reference = piece["reference"]
            ahead = answer_log_probs(model, piece, reference.shape[1])[0].float() - reference
            if number < len(cut):
                found += torch.stack([ahead.nansum(), (~ahead.isnan()).sum()])
    return found


def _ahead(model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """How much likelier each answer is than to the reference, and whether it is desirable."""
    reference, desirable = batch["reference"], batch["desirable"]
    there = ~desirable.isnan()
    log_probs, _ = answer_log_probs(model, batch, reference.shape[1])
    return (log_probs - reference)[there], desirable[there] > 0


def _balance(answers: Sequence[RatedAnswer], weights: tuple[float, float]) -> str:
    """How many there are of each kind; where they are out of balance, by which weights they would not be."""
    good = sum(answer.desirable for answer in answers)
    bad = len(answers) - good
    told = f"{good} desirable, {bad} not"
    if not good or not bad:
        return f"{told}: there should be both"
    ratio = good * weights[0] / (bad * weights[1])
    if _BALANCED[0] <= ratio <= _BALANCED[1]:
        return told
    if ratio < 1:
        return f"{told}; params.desirable_weight={bad * weights[1] / good:.3g} would weigh both alike"
    return f"{told}; params.undesirable_weight={good * weights[0] / bad:.3g} would weigh both alike"
