"""An adapter made part of the model under it: a folder that transformers opens without PEFT."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nimble_lightning.errors import ExportError, RequestError
from nimble_lightning.export import safetensors
from nimble_lightning.export.compare_weights import first_difference
from nimble_lightning.export.exportable_models import ExportedModel, is_adapter


def require_adapter(model: ExportedModel, whole: Path) -> None:
    """Refuse what has nothing to merge.

    Args:
        model: What was trained.
        whole: Where it was exported when its run ended.

    Raises:
        RequestError: It was trained without an adapter, or with one that no weights can hold.
    """
    if not is_adapter(model.module):
        raise RequestError(
            f"{model.name} was trained without an adapter, so there is nothing to merge: {whole} holds the "
            "whole of it."
        )
    if not hasattr(model.module.base_model, "merge_and_unload"):
        kind = type(model.module.base_model).__name__
        raise RequestError(f"An adapter of the kind {kind} cannot be merged: no weights hold what it does.")


def require_base(module: nn.Module, weights: Mapping[str, Tensor], base: str) -> None:
    """Refuse where the model under an adapter is not the one that was trained on.

    Args:
        module: As it was built again, before the weights of a checkpoint are loaded.
        weights: Of the checkpoint.
        base: What it was built of.

    Raises:
        ExportError: With the first weight that differs.
    """
    frozen = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}
    wanted = {name: weights[name] for name in frozen if name in weights}
    # A run in half precision keeps the base as it used it.
    found = {name: frozen[name].to(weight.dtype) for name, weight in wanted.items()}
    if difference := first_difference(wanted, found):
        raise ExportError(
            f"{base} is not the model that this run trained on: {difference}. Put that one there again."
        )


def save(model: ExportedModel, folder: Path) -> ExportedModel:
    """Merge the adapter, in place, and write what `from_pretrained` needs; returns the merged model."""
    adapted: Any = model.module
    _untie(adapted.get_base_model())
    with warnings.catch_warnings():
        # That embeddings are tied no longer: the comparison says whether that is right.
        warnings.filterwarnings("ignore", message=".*(tied|tie_word_embeddings)")
        whole: nn.Module = adapted.merge_and_unload()
    merged = ExportedModel(model.name, whole, model.companions)
    safetensors.save(merged, folder)
    return merged


def _untie(model: Any) -> None:
    """Of tied embeddings of which an adapter is for one, let each have weights of its own."""
    given, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is None or given.weight is not head.weight:
        return
    if any(hasattr(part, "base_layer") for part in (given, head)):
        layer = getattr(head, "base_layer", head)
        layer.weight = nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
