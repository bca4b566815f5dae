"""`nl.models`: short names for models to compare with, each a Hub id or a local folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping

from nimble_lightning.ops.similar_names import require

_KNOWN = {
    "bert-tiny": "prajjwal1/bert-tiny",
    "bert-base": "google-bert/bert-base-uncased",
    "distilbert": "distilbert/distilbert-base-uncased",
    "distilgpt2": "distilbert/distilgpt2",
    "gpt2": "openai-community/gpt2",
    "modernbert": "answerdotai/ModernBERT-base",
    "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B",
    "resnet-18": "microsoft/resnet-18",
    "resnet-50": "microsoft/resnet-50",
    "roberta-base": "FacebookAI/roberta-base",
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M",
    "t5-small": "google-t5/t5-small",
    "vit-base": "google/vit-base-patch16-224",
    "wav2vec2-base": "facebook/wav2vec2-base",
    "whisper-tiny": "openai/whisper-tiny",
}


class Models(Collection[str]):
    """Names and what they stand for; a trainer's file may add its own.

    Example::

        nl.models.add("ours-2025", "/models/ours-2025")
        nl.models.get("bert-tiny")          # "prajjwal1/bert-tiny"
    """

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = dict(known)

    def add(self, name: str, place: str | os.PathLike[str]) -> None:
        """Let a name stand for a Hub id or a folder."""
        self._known[name] = os.fspath(place)

    def get(self, name: str) -> str:
        """What a name stands for; a RequestError tells the nearest one there is."""
        require("model", [name], self._known)
        return self._known[name]

    def resolve(self, reference: str) -> str:
        """What a name stands for; anything else, such as a path, stays what it is."""
        return self._known.get(reference, reference)

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


models = Models(_KNOWN)
