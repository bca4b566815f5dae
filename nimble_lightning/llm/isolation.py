"""Whether texts that share a row are apart: shown on the model itself before it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake

from nimble_lightning.errors import TrainerError

_LENGTHS = (7, 11, 5)


def causal_model(model: nn.Module) -> Any:
    """The model of transformers itself, without the adapters of PEFT around it."""
    return model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]


def hidden_states(model: Any, batch: dict[str, Tensor], embeddings: Tensor | None = None) -> Tensor:
    """What the decoder says of each token of packed rows.

    Without a cache and without an attention mask: with either, transformers no longer looks at positions, and
    the texts of a row see each other without a word.
    """
    ids = {"input_ids": batch["input_ids"]} if embeddings is None else {"inputs_embeds": embeddings}
    found = model.get_decoder()(**ids, position_ids=batch["position_ids"], use_cache=False)
    states: Tensor = found.last_hidden_state
    return states


def has_plain_head(model: Any) -> bool:
    """Whether logits are what the last layer makes of hidden states, and nothing is done to them after it."""
    head = model.get_output_embeddings()
    if head is None:
        return False
    if not has_weights(model):
        return True
    ids, places = _row(model)
    with torch.no_grad(), evaluating(model):
        wanted = model(input_ids=ids, position_ids=places, use_cache=False).logits
        found = head(hidden_states(model, {"input_ids": ids, "position_ids": places}))
    return found.shape == wanted.shape and torch.allclose(found.float(), wanted.float(), atol=1e-5)


def require_isolation(model: Any) -> None:
    """Change one text of a row and look whether another one's outputs move.

    Raises:
        TrainerError: They do: the model cannot be trained on rows of several texts.
    """
    if not has_weights(model):
        return
    ids, places = _row(model)
    other = ids.clone()
    other[:, : _LENGTHS[0]] = (other[:, : _LENGTHS[0]] + 1) % _vocabulary(model)
    later = slice(_LENGTHS[0], None)
    with torch.no_grad(), evaluating(model):
        one, two = (hidden_states(model, {"input_ids": i, "position_ids": places}) for i in (ids, other))
        alone = ids[:, _LENGTHS[0] : _LENGTHS[0] + _LENGTHS[1]]
        place = torch.arange(_LENGTHS[1], device=ids.device)[None]
        by_itself = hidden_states(model, {"input_ids": alone, "position_ids": place})
    moved = (one[:, later] - two[:, later]).abs().max()
    apart = (one[:, _LENGTHS[0] : _LENGTHS[0] + _LENGTHS[1]] - by_itself).abs().max()
    if float(moved) > 0 or float(apart) > 1e-3 * float(by_itself.abs().max().clamp(min=1)):
        raise TrainerError(
            f"{type(model).__name__} lets the texts of a row see each other, so packing would teach it wrong "
            f"things (its attention is {getattr(model.config, '_attn_implementation', '?')}).\n"
            "Give params.packing=false, or a model whose attention is sdpa."
        )


def _row(model: Any) -> tuple[Tensor, Tensor]:
    device = model.get_input_embeddings().weight.device
    total = sum(_LENGTHS)
    ids = (torch.arange(total, device=device) * 7 + 3) % _vocabulary(model)
    places = torch.cat([torch.arange(length, device=device) for length in _LENGTHS])
    return ids[None], places[None]


def has_weights(model: nn.Module) -> bool:
    """Not in a plan, where nothing can be computed and nothing is trained."""
    weight = next(model.parameters())
    return not weight.is_meta and not is_fake(weight)


def _vocabulary(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[0])


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation for as long as it is entered; each part goes back to the mode it had."""
    modes = [(part, part.training) for part in model.modules()]
    for part, _ in modes:
        part.training = False
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
