"""How far a model has moved is one figure of all ranks; where one runs out of memory, all of them say so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from two_ranks import TwoRanks

from nimble_lightning.llm import kto

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks() -> Iterator[TwoRanks]:
    pair = TwoRanks()
    yield pair
    pair.close()


def estimate(rank: int, rows: list[int], at_once: int, fails: int | None = None) -> tuple[Any, int]:
    """What a rank with so many rows is told, and in how many pieces it went through the model."""
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    seen = 0

    def log_probs(model: Any, piece: Mapping[str, Tensor], most: int) -> tuple[Tensor, Tensor]:
        nonlocal seen
        seen += 1
        if rank == fails:
            raise torch.OutOfMemoryError("no memory left")
        return piece["input_ids"] * 1.0, piece["input_ids"]

    before, kto.answer_log_probs = kto.answer_log_probs, log_probs
    ids = torch.arange(rows[rank])[:, None] + 10 * rank
    try:
        found = kto.divergence(torch.nn.Linear(1, 1), {"input_ids": ids, "reference": 0.0 * ids}, at_once)
        return float(found), seen
    except torch.OutOfMemoryError as error:
        return str(error), seen
    finally:
        kto.answer_log_probs = before


def test_answers_count_alike_and_ranks_go_through_the_model_equally_often(ranks: TwoRanks) -> None:
    # 0, 1, 2 and 10, 11, 12, 13, 14.
    assert ranks.run(estimate, [3, 5], 2) == [(pytest.approx(63 / 8), 3)] * 2


def test_all_ranks_may_try_smaller_pieces_where_one_ran_out_of_memory(ranks: TwoRanks) -> None:
    assert ranks.run(estimate, [2, 2], 2, 0) == [("no memory left", 1), ("on another rank", 1)]
    assert [told for told, _ in ranks.run(estimate, [2, 2], 1)] == [pytest.approx(22 / 4)] * 2
