"""A mean over tokens stays one over all tokens of a batch, in however many pieces it goes through."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tiny_transformers import text_models, texts, tiny
from torch import Tensor, nn

from nimble_lightning.adapters.distributed.gradient_exchange import NoExchange
from nimble_lightning.adapters.global_step import Backward, GlobalStep, PieceLoss, Pieces, trainable
from nimble_lightning.adapters.losses import LabelCount, loss_and_count
from nimble_lightning.errors import TrainerError
from nimble_lightning.ops.batches import split

# Of each way in which a loss is made one; all of them are gone through where there is time.
TELLING = (
    "GPT2LMHeadModel",
    "MixtralForCausalLM",
    "XLNetLMHeadModel",
    "BertForMaskedLM",
    "BartForConditionalGeneration",
    "Qwen3VLForConditionalGeneration",
)

# Gives a text without padding other logits where another one has some.
DEPENDING_ON_THE_BATCH = {"PaliGemmaForConditionalGeneration"}

# Uncut as well: their own attention gives queries that are padding no key to look at.
NOT_FINITE = {"GraniteSWAForCausalLM", "LongformerForMaskedLM", "LEDForConditionalGeneration"}


def gradients(model: nn.Module, size: int | None) -> dict[str, Tensor]:
    loss_of = PieceLoss(lambda batch: model(**batch), label_count=LabelCount(model))
    backward = Backward(
        loss_of, Pieces(size), NoExchange(trainable(model), torch.Tensor.backward), lambda: None
    )
    GlobalStep(backward, model).run(texts(), True, model.zero_grad)
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def difference(model: nn.Module) -> float:
    """Between the gradients of one text at a time and of all at once, in parts of those."""
    whole, pieces = gradients(model, None), gradients(model, 1)
    norm = torch.stack([g.double().norm() for g in whole.values()]).norm()
    off = [(pieces.get(n, torch.zeros_like(g)) - g).double().norm() for n, g in whole.items()]
    return float(torch.stack(off).norm() / norm)


@pytest.mark.parametrize("name", TELLING)
def test_a_text_at_a_time_gives_the_gradients_of_the_whole_batch(name: str) -> None:
    assert difference(tiny(name, text_models()[name])) < 1e-6


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_so_does_every_text_model_of_transformers_that_can_be_made_small() -> None:
    found, not_made, not_finite = {}, {}, set()
    for name, config_type in text_models().items():
        try:
            model = tiny(name, config_type)
        except Exception as error:
            # Their sizes fit only together, or they need images, sound or a package that is not installed.
            not_made[name] = f"{type(error).__name__}: {error}".partition("\n")[0]
            continue
        if not all(gradient.isfinite().all() for gradient in gradients(model, None).values()):
            not_finite.add(name)
            continue
        found[name] = difference(model)
    print(*(f"{name} could not be made: {why}" for name, why in not_made.items()), sep="\n")
    assert len(found) > 2 * len(not_made)
    assert not_finite == NOT_FINITE
    # Some have kernels in single precision alone.
    assert {name for name, off in found.items() if not off < 2e-6} == DEPENDING_ON_THE_BATCH


class Gpt(nn.Module):
    """A model of one's own, which returns what those of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(64, 64).double()

    def forward(self, input_ids: Tensor, labels: Tensor, **_: Any) -> dict[str, Tensor]:
        logits = self.table(input_ids)
        loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return {"loss": loss, "logits": logits}


def test_a_model_of_ones_own_that_predicts_the_next_token_is_weighed_by_what_it_predicts() -> None:
    assert difference(Gpt()) < 1e-6


def test_with_a_loss_added_to_that_of_the_labels_the_model_says_what_is_predicted() -> None:
    model: Any = tiny("MixtralForCausalLM", "mixtral")
    model.config.output_router_logits = True
    output = model(**texts(), output_router_logits=True)
    assert output.aux_loss > 0
    count = LabelCount(nn.ModuleDict({"model": model}))
    assert count(output, texts(), 6) == (texts()["labels"][:, 1:] != -100).sum()


def test_of_labels_that_are_no_tokens_samples_are_counted() -> None:
    assert LabelCount()({"loss": torch.ones(())}, {"labels": torch.ones(6, dtype=torch.long)}, 6) == 6
    assert LabelCount()({"loss": torch.ones(())}, [torch.ones(6)], 6) == 6


def test_pixels_that_a_model_ignores_are_not_counted() -> None:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    model = SegformerForSemanticSegmentation(
        SegformerConfig(num_labels=3, hidden_sizes=[8] * 4, depths=[1] * 4, decoder_hidden_size=8)
    ).eval()
    labels = torch.randint(0, 3, (2, 32, 32))
    labels[1, :20] = 255
    batch = {"pixel_values": torch.randn(2, 3, 32, 32), "labels": labels}
    count = LabelCount(model)
    with torch.no_grad():
        whole = model(**batch)
        assert count(whole, batch, 2) == 2 * 32 * 32 - 20 * 32
        parts = [(model(**piece).loss, count(model(**piece), piece, 1)) for piece in split(batch, 1)]
    mean = sum(loss * n for loss, n in parts) / sum(n for _, n in parts)
    assert float(mean) == pytest.approx(float(whole.loss), abs=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_speech_is_weighed_by_samples_and_refused_where_losses_are_added_up(reduction: str) -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": (8, 8), "conv_kernel": (10, 3), "conv_stride": (5, 2)}
    with torch.device("meta"):
        model = Wav2Vec2ForCTC(
            Wav2Vec2Config(
                **sizes, **convolutions, num_conv_pos_embedding_groups=2, ctc_loss_reduction=reduction
            )
        )
    asked = LabelCount(model), {"loss": torch.ones(())}, {"labels": torch.ones(4, 7, dtype=torch.long)}
    if reduction == "mean":
        assert asked[0](*asked[1:], 4) == 4
    else:
        with pytest.raises(TrainerError, match=r'ctc_loss_reduction = "mean"'):
            asked[0](*asked[1:], 4)


@pytest.mark.parametrize(("batch", "said"), [(texts(), 1), ({"labels": torch.ones(6, 12).long()}, 0)])
def test_a_loss_alone_of_texts_of_unequal_length_is_spoken_of_once(
    batch: Mapping[str, Tensor], said: int, caplog: pytest.LogCaptureFixture
) -> None:
    count = LabelCount()
    with caplog.at_level(logging.WARNING):
        for piece in [*split(batch, 1), batch]:
            loss_and_count(torch.ones(()), piece, len(piece["labels"]), None, count)
    assert caplog.text.count("return the model's whole output") == said


@pytest.mark.parametrize("second", [torch.zeros(3, 2), {"accuracy": 1.0}, torch.ones(3)])
def test_what_stands_beside_a_loss_has_to_be_a_number_of_items(second: object) -> None:
    with pytest.raises(TrainerError, match=r"the loss and a (Tensor|dict); expected the loss alone"):
        loss_and_count((torch.ones(()), second), {}, 3, None, LabelCount())
    assert loss_and_count((torch.ones(()), torch.tensor(2)), {}, 3, None, LabelCount())[1] == 2
