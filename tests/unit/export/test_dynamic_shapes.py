from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn

from nimble_lightning.export.dynamic_shapes import Shapes
from nimble_lightning.export.example_inputs import ExampleCall


def shapes_of(*tensors: torch.Tensor, config: object = None) -> tuple[Shapes, ExampleCall]:
    model = nn.Identity()
    if config is not None:
        model.config = config
    call = ExampleCall(tensors)
    return Shapes.of(model, call), call


def sizes(call: ExampleCall) -> list[list[int]]:
    return [list(tensor.shape) for tensor in call.tensors]


def test_features_of_a_table_are_no_length_and_ids_of_tokens_are() -> None:
    table, _ = shapes_of(torch.zeros(6, 20))
    assert (table.batch, table.length) == (6, None)
    ids = torch.zeros(6, 20, dtype=torch.long)
    text, _ = shapes_of(ids, torch.ones(6, 20), torch.zeros(20), config=SimpleNamespace(n_positions=32))
    assert (text.batch, text.length, text.longest) == (6, 20, 32)
    assert text.varying(ids) == {0: "batch", 1: "length"}
    assert text.varying(torch.zeros(20)) == {}


def test_an_export_is_tried_with_another_batch_and_another_length_than_the_traced() -> None:
    shapes, call = shapes_of(torch.zeros(6, 20, dtype=torch.long))
    assert sizes(shapes.traced(call)) == [[4, 20]]
    assert [sizes(other) for other in shapes.others(call)] == [[[5, 10]], [[1, 20]]]
    assert [sizes(other) for other in shapes.others(call, lengths=False)] == [[[5, 20]], [[1, 20]]]


def test_a_single_sample_is_repeated() -> None:
    shapes, call = shapes_of(torch.arange(3.0).view(1, 3))
    assert sizes(shapes.traced(call)) == [[2, 3]]
    assert torch.equal(shapes.traced(call).tensors[0], torch.arange(3.0).repeat(2, 1))


def test_long_samples_are_cut_where_the_padding_is() -> None:
    ids = torch.arange(200).view(2, 100)
    behind = torch.ones(2, 100, dtype=torch.long)
    shapes, call = shapes_of(ids, behind)
    assert torch.equal(shapes.traced(call).tensors[0], ids[:, :64])
    front = behind.clone()
    front[0, :90] = 0
    shapes, call = shapes_of(ids, front)
    assert torch.equal(shapes.traced(call).tensors[0], ids[:, -64:])


def test_a_tensor_all_samples_share_stays_whole() -> None:
    shapes, call = shapes_of(torch.zeros(6, 2), torch.zeros(9, 9))
    assert sizes(shapes.traced(call)) == [[4, 2], [9, 9]]
