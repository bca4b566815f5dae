"""Supervised fine-tuning: a language model learns to answer as in the conversations it is given."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from nimble_lightning.llm import causal_lm
from nimble_lightning.llm.isolation import causal_model, has_plain_head, require_isolation
from nimble_lightning.llm.next_token_loss import next_token_loss
from nimble_lightning.llm.packing import Example, collate_rows
from nimble_lightning.llm.sft_data import read_sft_data
from nimble_lightning.trainer import NimbleTrainer

log = logging.getLogger(__name__)


class SFT(NimbleTrainer):
    """Fine-tunes a causal language model of transformers on conversations.

    The loss is the mean over the tokens that are learned, however they lie in rows, pieces and ranks.
    """

    def pre_process(
        self,
        *,
        model: str,
        data: Any,
        eval_data: Any = None,
        eval_share: float = 0.05,
        longest: int | None = None,
        over_length: Literal["few", "drop", "cut"] = "few",
        learn: Literal["answers", "last_answer", "everything"] = "answers",
        packing: bool = True,
        template: str | None = None,
        stop: str | None = None,
        rank: int = 0,
        alpha: int | None = None,
        dropout: float = 0.0,
        targets: str | list[str] = "all-linear",
        dora: bool = False,
        neftune: float = 0.0,
        prompts: list[str] | None = None,
        answer_tokens: int = 64,
    ) -> None:
        """Read the conversations, load the model, and show that texts which share a row are apart.

        Args:
            model: A name of the Hub, a folder, or the folder of a run.
            data: A file (.jsonl, .json, .parquet), a folder, or a list of {path, weight}.
            eval_data: The same, to evaluate on; None: every so many of the examples are kept for that.
            eval_share: How many of them, where `eval_data` is None.
            longest: Tokens of a row; None: as the model can, up to 2,048.
            over_length: What becomes of longer texts; "few": up to 1 % are left out, more are refused.
            learn: Which of what is said.
            packing: Whether several texts share a row.
            template: A file with another chat template.
            stop: The token that ends an answer, if the tokenizer and the model do not say.
            rank: Of a LoRA adapter, which then is all that is trained; 0: the whole model.
            alpha: How much the adapter weighs; None: twice the rank.
            dropout: Of the adapter.
            targets: The layers it is for.
            dora: Whether it learns how long weights are apart from where they point.
            neftune: How much noise embeddings get.
            prompts: What is asked before and after; None: the first questions that are evaluated.
            answer_tokens: The longest answer to them.
        """
        self._base, self._neftune, self._answer_tokens = model, neftune, answer_tokens
        self._data = found = read_sft_data(
            model,
            data,
            eval_data=eval_data,
            eval_share=eval_share,
            longest=longest,
            over_length=over_length,
            learn=learn,
            packing=packing,
            template=template,
            stop=stop,
        )
        for line in found.lines():
            log.info("%s", line)
        self.train_data, self.eval_data = found.train, found.held_out if len(found.held_out) else None
        self.tokenizer, self._prompts = found.tokenizer, found.prompts(prompts)
        whole = causal_lm.load_model(model)
        causal_lm.require_embeddings(whole, self.tokenizer)
        if packing:
            require_isolation(whole)
        self._plain_head = has_plain_head(whole)
        if not self._plain_head:
            log.info("the model changes its logits after its last layer, so they are computed as a whole")
        self.model = causal_lm.with_adapter(whole, rank, alpha, dropout, targets, dora=dora, name=model)

    def collate(self, rows: Sequence[Sequence[Example]]) -> dict[str, Tensor]:
        """Rows as tensors."""
        return collate_rows(rows, self.tokenizer.pad_token_id or 0)

    def train(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        """The mean cross-entropy of the learned tokens, and how many there are."""
        embedded = self._embedded(causal_model(self.model), batch)
        return next_token_loss(
            self.model, batch, batch["labels"][:, 1:], plain_head=self._plain_head, embeddings=embedded
        )

    def compute_metrics(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The perplexity, of the mean over all tokens that were evaluated."""
        return {"perplexity": math.exp(min(metrics["loss"], 700.0))}

    def predict_and_show(self) -> Iterator[tuple[str, Any]]:
        """The same questions answered by the model as it was and as it is."""
        after = [self._answer(self.model, begun) for _, begun in self._prompts]
        if hasattr(self.model, "disable_adapter"):
            with self.model.disable_adapter():  # type: ignore[operator]
                before = [self._answer(self.model, begun) for _, begun in self._prompts]
        else:
            device = next(self.model.parameters()).device
            untrained = causal_lm.load_model(self._base).to(device).eval()
            before = [self._answer(untrained, begun) for _, begun in self._prompts]
        rows = zip(self._prompts, before, after, strict=True)
        yield "asked before and after", [{"asked": a, "before": b, "after": c} for (a, _), b, c in rows]
        yield from self._data.tables()
        for number, sample in enumerate(self._data.samples(), 1):
            yield f"example {number}: what is learned is marked", sample

    def _embedded(self, model: Any, batch: Mapping[str, Tensor]) -> Tensor | None:
        if not self._neftune or not self.model.training:
            return None
        embeddings: Tensor = model.get_input_embeddings()(batch["input_ids"])
        return causal_lm.noisy(embeddings, batch["position_ids"], self._neftune)

    @torch.no_grad()
    def _answer(self, model: Any, begun: str) -> str:
        given = self.tokenizer(begun, add_special_tokens=False, return_tensors="pt").to(model.device)
        out = model.generate(
            input_ids=given["input_ids"],
            attention_mask=given["attention_mask"],
            max_new_tokens=self._answer_tokens,
            do_sample=False,
            eos_token_id=[self.tokenizer.convert_tokens_to_ids(stop) for stop in self._data.stops],
            pad_token_id=self.tokenizer.pad_token_id or 0,
        )
        return str(
            self.tokenizer.decode(out[0, given["input_ids"].shape[1] :], skip_special_tokens=True)
        ).strip()
