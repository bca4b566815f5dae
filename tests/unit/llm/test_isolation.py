"""Texts that share a row are apart, in every family of models, and where they are not nothing is trained."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import tiny_chat
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nimble_lightning.errors import TrainerError
from nimble_lightning.llm.cross_entropy import summed_cross_entropy
from nimble_lightning.llm.isolation import has_plain_head, hidden_states, require_isolation
from nimble_lightning.llm.packing import IGNORED, Example, collate_rows

FAMILIES = ("llama", "qwen3", "gemma3_text", "phi3", "olmo2", "mistral", "gpt2")


def model(family: str) -> Any:
    more: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4} if family == "gpt2" else {}
    return tiny_chat.model(family, 96, **more)


def examples() -> list[Example]:
    generator = torch.Generator().manual_seed(0)
    found = []
    for length in (9, 14, 6):
        ids = torch.randint(3, 90, (length,), generator=generator).tolist()
        found.append(Example(ids, [IGNORED] * 4 + ids[4:]))
    return found


def gradients(whole: nn.Module, loss: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(whole.parameters()), allow_unused=True)
    return [g for g in found if g is not None]


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_give_the_loss_and_gradients_of_texts_by_themselves(family: str) -> None:
    whole, texts = model(family).eval(), examples()
    require_isolation(whole)
    assert has_plain_head(whole)
    alone = torch.zeros(())
    for text in texts:
        ids, labels = torch.tensor([text.ids]), torch.tensor(text.labels)
        logits = whole(input_ids=ids).logits[0, :-1]
        alone = alone + cross_entropy(logits, labels[1:], ignore_index=IGNORED, reduction="sum")
    batch = collate_rows([texts[:2], texts[2:]])
    labels = batch["labels"][:, 1:]
    states = hidden_states(whole, batch)[:, :-1][labels != IGNORED]
    packed = summed_cross_entropy(states, whole.get_output_embeddings(), labels[labels != IGNORED])
    assert torch.allclose(packed, alone, rtol=1e-6)
    for one, other in zip(gradients(whole, packed), gradients(whole, alone), strict=True):
        assert (one - other).abs().max() <= 1e-5 * other.abs().max().clamp(min=1)


def test_a_model_whose_texts_see_each_other_is_refused() -> None:
    whole = model("llama")
    decoder = whole.get_decoder()
    forward = decoder.forward
    # As transformers does by default: with a cache it does not look where texts begin.
    decoder.forward = lambda *args, **kwargs: forward(*args, **{**kwargs, "use_cache": True})
    with pytest.raises(TrainerError, match="see each other"):
        require_isolation(whole)


def test_a_model_that_does_more_after_its_last_layer_is_found_out() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = tiny_chat.model("gemma2", 96, final_logit_softcapping=2.0)
    assert not has_plain_head(whole)


def test_looking_changes_no_mode() -> None:
    whole = model("llama").train()
    whole.model.layers[0].eval()
    before = [part.training for part in whole.modules()]
    require_isolation(whole)
    assert [part.training for part in whole.modules()] == before
