"""The loss of a language model over the tokens it learns."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from nimble_lightning.llm.cross_entropy import summed_cross_entropy
from nimble_lightning.llm.isolation import causal_model, hidden_states
from nimble_lightning.llm.packing import IGNORED


def next_token_loss(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    labels: Tensor,
    *,
    plain_head: bool,
    embeddings: Tensor | None = None,
) -> tuple[Tensor, int]:
    """The mean cross-entropy, and over how many tokens.

    Args:
        model: Of transformers, or one of PEFT around it.
        batch: With `input_ids` and `position_ids`.
        labels: For each place the token that comes next, or `IGNORED`; the last may be missing.
        plain_head: Whether logits are what the last layer says; then they are never all in memory.
        embeddings: Instead of those of the tokens.
    """
    learned = labels != IGNORED
    whole = causal_model(model)
    if plain_head:
        states = hidden_states(whole, dict(batch), embeddings)[:, : labels.shape[1]]
        picked = states[learned]
        total = summed_cross_entropy(picked, whole.get_output_embeddings(), labels[learned])
    else:
        ids = {"input_ids": batch["input_ids"]} if embeddings is None else {"inputs_embeds": embeddings}
        logits = whole(**ids, position_ids=batch["position_ids"], use_cache=False).logits
        picked = logits[:, : labels.shape[1]][learned].float()
        total = nn.functional.cross_entropy(picked, labels[learned], reduction="sum")
    return total / max(picked.shape[0], 1), picked.shape[0]
