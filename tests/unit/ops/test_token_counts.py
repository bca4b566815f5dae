from __future__ import annotations

import torch

from nimble_lightning.ops.token_counts import real_tokens, shaped_tokens


def test_what_is_padding_is_known_from_counts_or_from_the_mask() -> None:
    ids = torch.zeros(2, 5, dtype=torch.long)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    assert real_tokens({"input_ids": ids}) == 10
    assert real_tokens({"input_ids": ids, "attention_mask": mask}) == 4
    assert real_tokens({"input_ids": ids, "num_tokens": torch.tensor([5, 2])}) == 7
    assert shaped_tokens({"input_ids": ids, "num_tokens": torch.tensor([5, 2])}) == 10


def test_something_else_of_that_name_is_no_count() -> None:
    ids = torch.zeros(2, 5, dtype=torch.long)
    assert real_tokens({"input_ids": ids, "num_tokens": ids}) == 10
    assert real_tokens({"input_ids": ids, "num_tokens": 3}) == 10


def test_batches_without_ids_have_no_tokens() -> None:
    assert real_tokens(torch.zeros(3)) is None
    assert real_tokens({"x": torch.zeros(3)}) is None
