"""Under every strategy that runs here two ranks train as one does: how gradients meet changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from strategy_cases import (
    Normed,
    OutInBackward,
    Partly,
    Sharded,
    Wide,
    error_of,
    expected_step,
    fit,
    one_step,
    resumed,
)
from test_two_ranks import Regression
from two_ranks import TwoRanks

from nimble_lightning.settings import DataSettings

EXACT = ["ddp", "ddp_overlap", "ddp_static", "ddp_find_unused", "model_parallel"]


@pytest.fixture(scope="module")
def ranks() -> Iterator[TwoRanks]:
    pair = TwoRanks()
    yield pair
    pair.close()


def both(
    ranks: TwoRanks,
    name: str,
    kind: type[Regression] = Regression,
    *,
    batch: int = 5,
    micro: Any = "auto",
    options: dict[str, Any] | None = None,
    **params: Any,
) -> tuple[list[float], list[float]]:
    """The same global batches on one rank, uncut, and on two."""
    options = options or {}
    whole = 2 * batch * options.get("accumulate_grad_batches", 1)
    alone = {k: value for k, value in options.items() if k not in ("accumulate_grad_batches", "compile")}
    uncut = {key: value for key, value in params.items() if key != "most"}
    one = fit(0, 1, "auto", kind, DataSettings(batch_size=whole, shuffle=False), alone, uncut)
    data = DataSettings(batch_size=batch, micro_batch_size=micro, shuffle=False)
    kind = Sharded if name == "model_parallel" else kind
    two = ranks.run(fit, 2, name, kind, data, options, params)
    assert two[0] == two[1]
    return one, two[0]


@pytest.mark.parametrize("name", EXACT)
def test_two_ranks_have_the_gradients_of_one(ranks: TwoRanks, name: str) -> None:
    one, two = both(ranks, name, samples=37)
    assert two == pytest.approx(one, abs=1e-9)


@pytest.mark.parametrize("name", EXACT)
def test_one_rank_may_have_more_pieces_and_more_tokens_than_the_other(ranks: TwoRanks, name: str) -> None:
    one, two = both(ranks, name, micro=2, samples=39, tokens=True)
    assert two == pytest.approx(one, abs=1e-9)


@pytest.mark.parametrize("name", EXACT)
def test_gradients_are_accumulated_over_batches_and_clipped(ranks: TwoRanks, name: str) -> None:
    options = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.3}
    one, two = both(ranks, name, micro=3, samples=40, tokens=True, options=options)
    assert two == pytest.approx(one, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_a_compiled_model_has_the_same_gradients(ranks: TwoRanks, name: str) -> None:
    one, two = both(ranks, name, micro=2, samples=39, options={"compile": True})
    assert two == pytest.approx(one, abs=1e-9)


def test_gradients_sent_in_half_precision_are_nearly_the_same(ranks: TwoRanks) -> None:
    one, two = both(ranks, "ddp_fp16", micro=2, samples=37)
    assert two == pytest.approx(one, abs=1e-3)
    assert two != pytest.approx(one, abs=1e-9)


def test_a_hook_that_cannot_run_here_names_one_that_can(ranks: TwoRanks) -> None:
    assert all("choose strategy=ddp_fp16" in told for told in ranks.run(error_of, "ddp_bf16", Regression))


@pytest.mark.parametrize("name", ["ddp_overlap", "ddp_static", "ddp_powersgd"])
def test_resumed_it_goes_on_bit_for_bit(ranks: TwoRanks, name: str, tmp_path: Path) -> None:
    first, second = ranks.run(resumed, name, str(tmp_path))
    straight, again, short = first
    assert straight == again == second[0] == second[1]
    assert straight != short


def test_what_power_sgd_leaves_out_is_made_up_for(ranks: TwoRanks) -> None:
    one, two = both(ranks, "ddp_powersgd", samples=400, options={"max_epochs": 5})
    assert two == pytest.approx(one, abs=0.05)


@pytest.mark.slow
def test_a_compiled_model_goes_through_power_sgd_alike(ranks: TwoRanks) -> None:
    data = DataSettings(batch_size=4, micro_batch_size=2)
    plain, compiled = (
        ranks.run(fit, 2, "ddp_powersgd", Wide, data, {"compile": compile}, {"samples": 60})
        for compile in (False, True)
    )
    assert compiled[0] == compiled[1] == pytest.approx(plain[0], abs=1e-9)


@pytest.mark.parametrize("name", ["ddp", "ddp_find_unused"])
def test_weights_that_no_rank_uses_are_left_alone(ranks: TwoRanks, name: str) -> None:
    one, two = both(ranks, name, Partly, samples=20)
    assert two == pytest.approx(one, abs=1e-9)
    assert two[-6:] == [0.5] * 6


@pytest.mark.parametrize("name", ["ddp", "ddp_overlap"])
def test_all_ranks_evaluate_with_the_running_statistics_that_are_saved(ranks: TwoRanks, name: str) -> None:
    first, second = ranks.run(fit, 2, name, Normed, DataSettings(batch_size=4), {}, {"samples": 16})
    assert first == second


@pytest.mark.parametrize("most", [(2, 100), (100, 3)])
def test_out_of_memory_before_the_ranks_meet_is_tried_again(ranks: TwoRanks, most: tuple[int, int]) -> None:
    one, two = both(ranks, "ddp_overlap", samples=40, most=most)
    assert two == pytest.approx(one, abs=1e-9)


def test_out_of_memory_where_the_ranks_meet_says_what_to_change(ranks: TwoRanks) -> None:
    for told in ranks.run(error_of, "ddp_overlap", OutInBackward):
        assert told.startswith("TrainerError: Out of memory with 4 samples")
        assert "smaller data.micro_batch_size" in told


@pytest.mark.parametrize("kind", ["fsdp", "deepspeed"])
def test_what_only_averages_over_ranks_weighs_them_by_what_they_hold(ranks: TwoRanks, kind: str) -> None:
    first, second = ranks.run(one_step, kind, (5, 4))
    assert first == second
    assert first == pytest.approx(expected_step((5, 4)), abs=1e-9)


def test_items_that_are_no_samples_are_refused_where_they_cannot_be_weighed(ranks: TwoRanks) -> None:
    with pytest.raises(RuntimeError, match="loss over 27 items for"):
        ranks.run(one_step, "deepspeed", (5, 4), True)
