from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from nimble_lightning.errors import ExportError
from nimble_lightning.export.example_inputs import ExampleCall
from nimble_lightning.export.model_outputs import exportable, input_names, output_names, run, tensors_in


@dataclass
class Answer:
    logits: torch.Tensor
    note: str = "no tensor"


class Model(nn.Module):
    def forward(self, x, scale=1.0, *, mask=None):
        return {"a": x * scale, "parts": (x, None, [x + 1]), "past_key_values": x, "none": None}


def test_outputs_are_tensors_in_order_and_have_names() -> None:
    call = ExampleCall((torch.ones(2, 3),), {}, {"scale": 2.0})
    assert [float(t[0, 0]) for t in run(Model(), call)] == [2.0, 1.0, 2.0]
    assert output_names(Model(), call) == ["a", "parts_0", "parts_1_0"]
    assert output_names(nn.Identity(), ExampleCall((torch.ones(1),))) == ["output"]


def test_a_record_is_taken_apart_and_what_holds_no_tensor_is_refused() -> None:
    assert list(tensors_in(Answer(torch.ones(1)))) == ["logits"]
    with pytest.raises(ExportError, match="without a tensor"):
        tensors_in({"text": "hello"})


def test_inputs_are_called_as_the_model_calls_them() -> None:
    call = ExampleCall((torch.ones(1),), {"mask": torch.ones(1)})
    assert input_names(Model(), call) == ["x", "mask"]
    assert input_names(nn.Linear(1, 1), ExampleCall((torch.ones(1),))) == ["input"]

    class Anything(nn.Module):
        def forward(self, *things):
            return things[0]

    assert input_names(Anything(), ExampleCall((torch.ones(1), torch.ones(1)))) == ["input_0", "input_1"]


def test_an_exportable_model_gives_the_outputs_of_the_model() -> None:
    call = ExampleCall((torch.ones(2, 3),), {}, {"scale": 3.0})
    wrapped = exportable(Model(), call)
    assert torch.equal(wrapped(*call.args)["a"], torch.full((2, 3), 3.0))
    assert not wrapped.training
