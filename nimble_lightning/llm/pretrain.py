"""Pretraining: a language model learns every token of texts that need not fit into memory."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from nimble_lightning.errors import RequestError
from nimble_lightning.llm import causal_lm
from nimble_lightning.llm.isolation import has_plain_head, require_isolation
from nimble_lightning.llm.next_token_loss import next_token_loss
from nimble_lightning.llm.text_files import DocumentUnit, Unreadable
from nimble_lightning.llm.text_sources import TextReading, TextSource, text_sources
from nimble_lightning.llm.token_rows import TextEncoder, TokenRow, TokenRows, collate_token_rows
from nimble_lightning.trainer import NimbleTrainer

log = logging.getLogger(__name__)

_LONGEST = 2048
# Texts whose beginnings are continued at the end, and how many tokens a beginning is.
_SHOWN, _BEGINNING = 3, 16


class Pretrain(NimbleTrainer):
    """Trains a causal language model of transformers on plain texts, as a stream.

    The loss is the mean over all tokens, however they lie in rows, pieces and ranks.
    """

    def pre_process(
        self,
        *,
        data: Any,
        model: str | None = None,
        config: str | None = None,
        tokenizer: str | None = None,
        eval_data: Any = None,
        eval_share: float = 0.0,
        length: int | None = None,
        cross_documents: bool = False,
        field: str = "text",
        document: DocumentUnit = "file",
        unreadable: Unreadable = "refuse",
        end: str | None = None,
        prompts: list[str] | None = None,
        answer_tokens: int = 64,
    ) -> None:
        """Find the texts, and load the model or draw its weights.

        Args:
            data: A file (.jsonl, .parquet, .txt), a folder, a pattern, or a list of these or of
                {path, weight}; weights are the shares of tokens that are from each.
            model: A name of the Hub, a folder, or the folder of a run, to go on with.
            config: The same for a model whose weights are drawn anew, of which only the sizes are read.
            tokenizer: Whose tokenizer it gets; None: that of `model` or `config`.
            eval_data: As `data`, to evaluate on.
            eval_share: Of `data`, where `eval_data` is None: texts that are never trained on.
            length: Tokens of a row; None: as the model can, up to 2,048.
            cross_documents: Whether attention sees the texts before in the same row.
            field: What a text is called in a row of .jsonl and .parquet.
            document: Whether a .txt file is one text, or each of its lines is.
            unreadable: Whether a text that is none is refused, or left out and told.
            end: The token that ends a text, if not the tokenizer's own.
            prompts: Beginnings which the trained model continues at the end; None: those of the first texts.
            answer_tokens: How far.
        """
        name = _one_of(model, config)
        self.tokenizer = causal_lm.load_tokenizer(tokenizer or name)
        self._prompts, self._answer_tokens = prompts, answer_tokens
        self._cross_documents = cross_documents
        reading = TextReading(field, document, unreadable)
        sources = text_sources(data, reading)
        whole = causal_lm.load_model(name) if config is None else _drawn(name)
        causal_lm.require_embeddings(whole, self.tokenizer)
        self._length = _row_length(whole.config, length)
        encoder = TextEncoder.of(self.tokenizer, end)
        share = 0.0 if eval_data is not None else _share(eval_share)
        self.train_data = TokenRows(sources, encoder, self._length, share)
        self.eval_data: TokenRows | None = None
        if eval_data is not None:
            self.eval_data = TokenRows(_pooled(text_sources(eval_data, reading)), encoder, self._length)
        elif share:
            self.eval_data = TokenRows(_pooled(sources), encoder, self._length, share, evaluates=True)
        for line in self._lines(sources, encoder, share):
            log.info("%s", line)
        if not cross_documents:
            require_isolation(whole)
        self._plain_head = has_plain_head(whole)
        self.model = whole

    def collate(self, rows: Sequence[TokenRow]) -> dict[str, Tensor]:
        """Rows as tensors."""
        pad = self.tokenizer.pad_token_id or 0
        return collate_token_rows(rows, self._length, pad, cross_documents=self._cross_documents)

    def train(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        """The mean cross-entropy of the tokens, and how many there are."""
        return next_token_loss(self.model, batch, batch["labels"], plain_head=self._plain_head)

    def compute_metrics(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The perplexity, of the mean over all tokens that were evaluated."""
        return {"perplexity": math.exp(min(metrics["loss"], 700.0))}

    @torch.no_grad()
    def predict_and_show(self) -> Iterator[tuple[str, Any]]:
        """How it goes on from some beginnings."""
        data = self.train_data if self.eval_data is None else self.eval_data
        begun = data.encoder(self._prompts) if self._prompts else data.beginnings(_SHOWN, _BEGINNING)
        rows = [{"beginning": self.tokenizer.decode(ids), "goes on": self._continued(ids)} for ids in begun]
        yield "how it goes on", rows

    def _continued(self, ids: Sequence[int]) -> str:
        begun = torch.tensor([[self.train_data.encoder.begin, *ids]])
        given = begun.to(next(self.model.parameters()).device)
        out = self.model.generate(  # type: ignore[operator]
            input_ids=given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=self._answer_tokens,
            do_sample=False,
            eos_token_id=self.train_data.encoder.end,
            pad_token_id=self.tokenizer.pad_token_id or 0,
        )
        return str(self.tokenizer.decode(out[0, given.shape[1] :], skip_special_tokens=True))

    def _lines(self, sources: Sequence[TextSource], encoder: TextEncoder, share: float) -> Iterator[str]:
        begin, end = self.tokenizer.convert_ids_to_tokens([encoder.begin, encoder.end])
        seen = "see each other" if self._cross_documents else "do not see each other"
        files = sum(len(source.files) for source in sources)
        size = sum(source.size for source in sources)
        yield (
            f"{files:,} file{'s' * (files != 1)} of {size / 2**20:,.1f} MiB; "
            f"rows of {self._length:,} tokens, all learned; "
            f"texts begin after {begin}, end with {end}, and {seen}"
        )
        whole = sum(source.weight for source in sources)
        for source in sources if len(sources) > 1 else ():
            yield f"{source.weight / whole:.2%} of the tokens are from {source.files[0].path.parent}/"
        if share:
            yield f"{share:.2%} of the texts, by their content, are evaluated on and never trained on"


def _one_of(model: str | None, config: str | None) -> str:
    if (model is None) is (config is None):
        raise RequestError(
            "give either params.model=NAME to go on with its weights, or params.config=NAME to draw them anew"
        )
    return str(model or config)


def _drawn(name: str) -> nn.Module:
    """A model of these sizes with weights of the run's seed."""
    place = causal_lm.base_of(name)
    try:
        config = AutoConfig.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise RequestError(f"config={name} cannot be read: {str(error).strip().splitlines()[0]}") from None
    model: nn.Module = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    log.info("no weights are read: they are drawn anew, by the seed of the run")
    return model


def _row_length(config: Any, asked: int | None) -> int:
    limit = int(getattr(config, "max_position_embeddings", None) or _LONGEST)
    if asked is not None and not 1 <= asked <= limit:
        raise RequestError(f"params.length={asked}: the model takes 1 to {limit:,} tokens")
    return asked or min(limit, _LONGEST)


def _share(share: float) -> float:
    if not 0 <= share < 1:
        raise RequestError(f"params.eval_share={share:g}: expected a number from 0 up to 1")
    return share


def _pooled(sources: Sequence[TextSource]) -> list[TextSource]:
    """Each text once, whatever its weight."""
    return [TextSource([file for source in sources for file in source.files])]
