"""Preference optimization: a language model learns which of two answers is the better one."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from nimble_lightning.errors import RequestError
from nimble_lightning.export.compare_weights import fingerprint
from nimble_lightning.llm import causal_lm, preference_losses
from nimble_lightning.llm.chat_data import falls_on
from nimble_lightning.llm.chat_masks import ChatEncoder
from nimble_lightning.llm.conversations import sources_of
from nimble_lightning.llm.cross_entropy import token_log_probs
from nimble_lightning.llm.isolation import causal_model, has_plain_head, hidden_states, require_isolation
from nimble_lightning.llm.packing import IGNORED
from nimble_lightning.llm.preference_pairs import Pair, PairRows, collate_pairs, read_pairs
from nimble_lightning.llm.sft_data import row_length, stops_of
from nimble_lightning.trainer import NimbleTrainer

log = logging.getLogger(__name__)

_CACHE = Path("~/.cache/nimble_lightning/reference")


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
        """
        self._loss, self._beta = loss, beta
        self.tokenizer = causal_lm.load_tokenizer(model, template)
        whole = causal_lm.load_model(model).eval()
        causal_lm.require_embeddings(whole, self.tokenizer)
        require_isolation(whole)
        if not has_plain_head(whole):
            raise RequestError(
                f"{type(whole).__name__} changes its logits after its last layer, which DPO cannot do yet"
            )
        room = row_length(whole.config, longest)
        encoder = ChatEncoder(self.tokenizer, stops_of(self.tokenizer, model, stop), "last_answer")
        pairs = _read(data, encoder, room)
        if eval_data is None:
            held_out = [pair for n, pair in enumerate(pairs) if falls_on(n, eval_share)]
            pairs = [pair for n, pair in enumerate(pairs) if not falls_on(n, eval_share)]
        else:
            held_out = _read(eval_data, encoder, room)
        if not pairs:
            raise RequestError("the data holds no pair to learn from")
        self.train_data = self._with_reference(whole, PairRows(pairs, room))
        self.eval_data = self._with_reference(whole, PairRows(held_out, room)) if held_out else None
        log.info("%d pairs in rows of %d tokens, %d to evaluate on", len(pairs), room, len(held_out))
        self.model = causal_lm.with_adapter(whole, rank, alpha, dropout, targets) if rank else whole
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

    def _with_reference(self, model: nn.Module, rows: PairRows) -> PairRows:
        """The pairs with what the untrained model thinks of them; computed once for the same of both."""
        if self._loss == "orpo":
            return rows
        told = repr((sorted(fingerprint(model).items()), rows.digest)).encode()
        kept = _CACHE.expanduser() / f"{hashlib.sha256(told).hexdigest()}.pt"
        if kept.is_file():
            values = torch.load(kept, weights_only=True)
        else:
            values = self._computed(model, rows)
            kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            torch.save(values, waiting := kept.with_suffix(f".{os.getpid()}"))
            os.replace(waiting, kept)
        pairs = [replace(p, reference=tuple(v)) for p, v in zip(rows.pairs, values.tolist(), strict=True)]
        return PairRows(pairs, rows.room)

    @torch.no_grad()
    def _computed(self, model: nn.Module, rows: PairRows) -> Tensor:
        device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else "cpu"
        model.to(device)
        found = torch.zeros(len(rows.pairs), 2)
        for numbers in rows.rows:
            batch = self.collate([[rows.pairs[number] for number in numbers]])
            on_device = {name: tensor.to(device) for name, tensor in batch.items()}
            sums, _ = answer_log_probs(model, on_device, 2 * len(numbers))
            found[numbers] = sums.view(-1, 2).cpu()
        model.to("cpu")
        return found


def _read(data: Any, encoder: ChatEncoder, room: int) -> list[Pair]:
    sources = sources_of(data)
    if weighed := next((source for source in sources if source.weight != 1), None):
        raise RequestError(f"data: {weighed.path} has a weight; pairs are all taken once")
    return [pair for source in sources for pair in read_pairs(source.path, encoder, room)]


def answer_log_probs(model: Any, batch: Mapping[str, Tensor], most: int) -> tuple[Tensor, Tensor]:
    """The log-probability of each answer of each row, and how many tokens it has: [rows, answers]."""
    labels = batch["labels"][:, 1:]
    learned = labels != IGNORED
    states = hidden_states(model, dict(batch))[:, :-1][learned]
    found = token_log_probs(states, model.get_output_embeddings(), labels[learned])
    row = torch.arange(labels.shape[0], device=labels.device)[:, None].expand_as(labels)
    place = (row * most + batch["answer"][:, 1:])[learned]
    sums = found.new_zeros(labels.shape[0] * most).scatter_add(0, place, found)
    counts = found.new_zeros(labels.shape[0] * most).scatter_add(0, place, torch.ones_like(found))
    return sums.view(-1, most), counts.view(-1, most)
