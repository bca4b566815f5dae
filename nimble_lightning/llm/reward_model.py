"""A reward model: a language model learns to say by a number how good an answer is."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.utils import logging as hf_logging

from nimble_lightning.errors import RequestError
from nimble_lightning.llm import causal_lm, preference_losses
from nimble_lightning.llm.chat_masks import ChatEncoder
from nimble_lightning.llm.isolation import (
    causal_model,
    evaluating,
    has_weights,
    hidden_states,
    require_isolation,
)
from nimble_lightning.llm.packing import collate_rows
from nimble_lightning.llm.preference_pairs import AnswerRows, Pair, read_pairs, table
from nimble_lightning.llm.preference_setup import divided
from nimble_lightning.llm.sft_data import row_length, stops_of
from nimble_lightning.trainer import NimbleTrainer

log = logging.getLogger(__name__)

_HEAD = "score"


class RewardModel(NimbleTrainer):
    """Trains a language model of transformers with a head of one number, on pairs of answers.

    What it saves is an `AutoModelForSequenceClassification` with one label, whose logit is the reward.
    """

    def pre_process(
        self,
        *,
        model: str,
        data: Any,
        eval_data: Any = None,
        eval_share: float = 0.05,
        center: float = 0.0,
        longest: int | None = None,
        template: str | None = None,
        stop: str | None = None,
        rank: int = 0,
        alpha: int | None = None,
        dropout: float = 0.0,
        targets: str | list[str] = "all-linear",
        dora: bool = False,
    ) -> None:
        """Read the pairs, load the model, and give it a head where it has none.

        Args:
            model: A name of the Hub, a folder, or the folder of a run.
            data: A file (.jsonl, .json, .parquet), a folder, or a list of {path}: prompt, chosen, rejected.
            eval_data: The same, to evaluate on; None: every so many of the pairs are kept for that.
            eval_share: How many of them, where `eval_data` is None.
            center: How much it costs that rewards are not around zero.
            longest: Tokens of a row; None: as the model can, up to 2,048.
            template: A file with another chat template.
            stop: The token that ends an answer, if the tokenizer and the model do not say.
            rank: Of a LoRA adapter, which then is trained with the head; 0: the whole model.
            alpha: How much the adapter weighs; None: twice the rank.
            dropout: Of the adapter.
            targets: The layers it is for.
            dora: Whether it learns how long weights are apart from where they point.
        """
        self._center = center
        self.tokenizer = causal_lm.load_tokenizer(model, template)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        whole = _with_head(model, self.tokenizer.pad_token_id)
        causal_lm.require_embeddings(whole, self.tokenizer)
        require_isolation(whole)
        _require_plain_head(whole)
        room = row_length(whole.config, longest)
        encoder = ChatEncoder(self.tokenizer, stops_of(self.tokenizer, model, stop), "everything")
        pairs, held_out = divided(
            data, eval_data, eval_share, lambda path: read_pairs(path, encoder, room), "pairs"
        )
        self.train_data = AnswerRows(pairs, room)
        self.eval_data = AnswerRows(held_out, room) if held_out else None
        log.info("%d pairs in rows of %d tokens, %d to evaluate on", len(pairs), room, len(held_out))
        self.model = causal_lm.with_adapter(
            whole, rank, alpha, dropout, targets, dora=dora, name=model, task="SEQ_CLS"
        )
        self.val_loss, self.accuracy, self.margin = MeanMetric(), MeanMetric(), MeanMetric()

    def collate(self, rows: Sequence[Sequence[Pair]]) -> dict[str, Tensor]:
        """Rows as tensors."""
        return collate_rewarded(rows, self.tokenizer.pad_token_id)

    def train(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        """The mean loss of the pairs, and how many there are."""
        losses, _ = self._losses(batch)
        return losses.mean(), losses.numel()

    def evaluate(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        """The same, how many pairs are ordered rightly, and how far apart their rewards are."""
        losses, ahead = self._losses(batch)
        self.val_loss.update(losses.float())
        self.accuracy.update((ahead > 0).float())
        self.margin.update(ahead.float())
        return {"loss": self.val_loss, "accuracy": self.accuracy, "margin": self.margin}

    def _losses(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Of each pair its loss, and by how much the better answer has the higher reward."""
        found = rewards(causal_model(self.model), batch)
        chosen, rejected = found[0::2], found[1::2]
        margin = batch["margin"][~batch["margin"].isnan()]
        return preference_losses.reward(chosen, rejected, margin, self._center), (chosen - rejected).detach()


def rewards(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """The reward of each text of all rows, in their order."""
    last = batch["last"]
    there = last >= 0
    row = torch.arange(last.shape[0], device=last.device)[:, None].expand_as(last)
    states = hidden_states(model, dict(batch))[row[there], last[there]]
    found: Tensor = getattr(model, _HEAD)(states).squeeze(-1).float()
    return found


def collate_rewarded(rows: Sequence[Sequence[Pair]], pad: int) -> dict[str, Tensor]:
    """Rows as tensors, with the place of each text's reward and the margin of each pair.

    A reward is at the last token that is not padding, as transformers looks for it: where texts end with the
    token that is also padding, at the one before.
    """
    texts = [[text for pair in row for text in (pair.chosen, pair.rejected)] for row in rows]
    batch = collate_rows(texts, pad)
    del batch["labels"]
    last = torch.full((len(rows), max(map(len, texts))), -1)
    for number, row in enumerate(texts):
        start = 0
        for place, text in enumerate(row):
            last[number, place] = start + max(at for at, token in enumerate(text.ids) if token != pad)
            start += len(text.ids)
    margin = table([[pair.margin for pair in row] for row in rows])
    return {**batch, "last": last, "margin": margin}


def _with_head(name: str, pad: int) -> nn.Module:
    """The model with one label; a head that it did not bring is drawn by the seed."""
    config = AutoConfig.from_pretrained(causal_lm.base_of(name))
    new = not any(kind.endswith("ForSequenceClassification") for kind in config.architectures or [])
    if not new and config.num_labels != 1:
        raise RequestError(f"model={name} tells {config.num_labels} classes apart; a reward is one number")
    if new:
        adapted = causal_lm.base_of(name) != causal_lm.place_of(name)
        given = "it gets that of its adapter, or one" if adapted else "it gets one"
        log.info("model=%s has no head for rewards; %s, drawn by the seed", name, given)
    # Of which transformers makes a table.
    with _quiet() if new else nullcontext():
        model = causal_lm.load_model(name, AutoModelForSequenceClassification, num_labels=1).eval()
    model.config.get_text_config().pad_token_id = pad  # type: ignore[operator, union-attr]
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of transformers."""
    before = hf_logging.get_verbosity()
    hf_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hf_logging.set_verbosity(before)


def _require_plain_head(model: Any) -> None:
    """Refuse a model whose reward is not what its head makes of the last token."""
    if not isinstance(getattr(model, _HEAD, None), nn.Linear):
        raise RequestError(
            f"{type(model).__name__} has no head on its last token, which a reward model needs"
        )
    if not has_weights(model):
        return
    ids = torch.arange(7)[None] + model.config.get_text_config().pad_token_id + 1
    with torch.no_grad(), evaluating(model):
        ids %= model.get_input_embeddings().weight.shape[0]
        wanted = model(input_ids=ids, use_cache=False).logits
        batch = {"input_ids": ids, "position_ids": torch.arange(7)[None], "last": torch.tensor([[6]])}
        found = rewards(model, batch)
    if not torch.allclose(found, wanted[:, 0].float(), atol=1e-5):
        raise RequestError(f"{type(model).__name__} does more than its head to the last token's state")
