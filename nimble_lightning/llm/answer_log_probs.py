"""Log-probabilities of whole answers, as a model has them now and as it had them before training."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nimble_lightning.export.compare_weights import fingerprint
from nimble_lightning.llm.cross_entropy import token_log_probs
from nimble_lightning.llm.isolation import has_weights, hidden_states
from nimble_lightning.llm.packing import IGNORED, Example, best_fit
from nimble_lightning.llm.preference_pairs import collate_answers

_CACHE = Path("~/.cache/nimble_lightning/reference")


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


def reference_log_probs(model: nn.Module, texts: Sequence[Example], room: int, pad: int) -> list[float]:
    """The log-probability of each answer before training; computed once for the same model and texts.

    Args:
        model: As it is before training.
        texts: What ends with the answers.
        room: Tokens of a row.
        pad: The token that fills rows.
    """
    if not has_weights(model):
        return [0.0] * len(texts)
    told = repr((sorted(fingerprint(model).items()), _digest(texts))).encode()
    kept = _CACHE.expanduser() / f"{hashlib.sha256(told).hexdigest()}.pt"
    if kept.is_file():
        values: Tensor = torch.load(kept, weights_only=True)
    else:
        values = _computed(model, texts, room, pad)
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        torch.save(values, waiting := kept.with_suffix(f".{os.getpid()}"))
        os.replace(waiting, kept)
    return [float(value) for value in values.flatten()]


@torch.no_grad()
def _computed(model: nn.Module, texts: Sequence[Example], room: int, pad: int) -> Tensor:
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else "cpu"
    model.to(device)
    found = torch.zeros(len(texts))
    for numbers in best_fit([len(text.ids) for text in texts], room):
        batch = collate_answers([[texts[number] for number in numbers]], pad)
        on_device = {name: tensor.to(device) for name, tensor in batch.items()}
        sums, _ = answer_log_probs(model, on_device, len(numbers))
        found[numbers] = sums[0].float().cpu()
    model.to("cpu")
    return found


def _digest(texts: Sequence[Example]) -> str:
    """Of the tokens and of which are learned."""
    hashed = hashlib.sha256()
    for text in texts:
        hashed.update(repr((text.ids, text.labels)).encode())
    return hashed.hexdigest()
