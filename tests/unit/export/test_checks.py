from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from nimble_lightning.errors import ExportError
from nimble_lightning.export import checks, torch_export
from nimble_lightning.export.dynamic_shapes import Shapes
from nimble_lightning.export.example_inputs import ExampleCall


def test_the_largest_difference_counts_and_another_shape_is_infinite() -> None:
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5])
    assert checks.difference([[a]], [[b]]) == 0.5
    assert checks.difference([[a]], [[a[:1]]]) == float("inf")
    assert checks.difference([[a], [a, b]], [[a], [a]]) == float("inf")


def test_what_is_no_number_in_both_is_equal_and_in_one_is_not() -> None:
    odd = torch.tensor([float("nan"), float("inf"), -float("inf")])
    assert checks.difference([[odd]], [[odd.clone()]]) == 0.0
    assert checks.difference([[odd]], [[torch.zeros(3)]]) == float("inf")


def test_a_model_that_answers_differently_each_time_cannot_be_checked() -> None:
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.rand_like(x)

    with pytest.raises(ExportError, match="differently each time"):
        checks.references(Noisy(), [ExampleCall((torch.ones(2),))])


def test_an_export_is_run_by_a_fresh_process_and_refused_when_it_is_another_model(tmp_path: Path) -> None:
    model, call = nn.Linear(3, 2), ExampleCall((torch.randn(5, 3),))
    shapes = Shapes.of(model, call)
    program, _ = torch_export.program_of(model, call, shapes)
    path = tmp_path / "model.pt2"
    torch_export.save(program, path)
    calls = [shapes.traced(call), *shapes.others(call)]
    wanted = checks.references(model, calls)
    # A tenth of a thousandth more in one number of one sample.
    wanted[1][0][0, 0] += 1e-4
    with pytest.raises(ExportError, match=r"is not the model: its outputs differ by up to 0\.0001, allowed"):
        checks.check({"kind": "torch", "path": str(path)}, calls, wanted, tmp_path)


def test_an_export_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ExportError, match="A fresh process cannot use the onnx export"):
        checks.check(
            {"kind": "onnx", "path": str(tmp_path / "model.onnx"), "input_names": ["x"]},
            [ExampleCall((torch.ones(1),))],
            [[torch.ones(1)]],
            tmp_path,
        )
