from __future__ import annotations

import pytest
import torch
from torch import nn

from nimble_lightning.errors import ExportError
from nimble_lightning.export.example_inputs import ExampleCall, for_export, record


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x, *, gate=None, hard=False):
        return self.layer(x) if gate is None else self.layer(x) * gate


def test_the_first_call_of_each_model_is_recorded_and_nothing_after_it_runs() -> None:
    one, two = nn.Linear(2, 2), Gated()
    reached = []

    def evaluate() -> None:
        one(torch.ones(3, 2))
        one(torch.zeros(1, 2))
        two(torch.ones(3, 2), gate=torch.ones(2), hard=True)
        reached.append(1)

    calls = record({"one": one, "two": two}, evaluate)
    assert torch.equal(calls["one"].args[0], torch.ones(3, 2))
    assert list(calls["two"].kwargs) == ["gate"]
    assert calls["two"].constants == {"hard": True}
    assert not reached
    one(torch.ones(1, 2))


def test_what_was_recorded_does_not_change_with_the_batch() -> None:
    model, batch = nn.Linear(2, 2), torch.ones(3, 2)
    calls = record({"model": model}, lambda: model(batch))
    batch.zero_()
    assert calls["model"].args[0].sum() == 6


def test_a_model_that_is_never_called_is_left_out() -> None:
    assert record({"model": nn.Linear(2, 2)}, lambda: None) == {}


def test_an_evaluation_that_fails_before_the_model_is_called_is_said() -> None:
    with pytest.raises(ExportError, match="ZeroDivisionError"):
        record({"model": nn.Linear(2, 2)}, lambda: 1 / 0)


def test_samples_are_in_full_precision_and_of_a_call_without_tensors_there_are_none() -> None:
    call = for_export(
        nn.Linear(2, 2), ExampleCall((torch.ones(2, 2, dtype=torch.bfloat16), torch.ones(2).long()))
    )
    assert [t.dtype for t in call.tensors] == [torch.float32, torch.int64]
    with pytest.raises(ExportError, match="without a tensor"):
        for_export(nn.Linear(2, 2), ExampleCall((3,)))


def test_labels_and_caches_are_no_inputs_of_a_hugging_face_model() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

    ids = torch.ones(2, 4, dtype=torch.long)
    decoder = GPT2LMHeadModel(GPT2Config(vocab_size=8, n_positions=8, n_embd=8, n_layer=1, n_head=2))
    call = for_export(
        decoder, ExampleCall((ids,), {"labels": ids, "past_key_values": None, "return_dict": True})
    )
    assert list(call.kwargs) == ["input_ids"]
    assert call.constants == {"use_cache": False}
    both = T5ForConditionalGeneration(
        T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    )
    call = for_export(both, ExampleCall((), {"input_ids": ids, "labels": ids}))
    assert sorted(call.kwargs) == ["decoder_input_ids", "input_ids"]
