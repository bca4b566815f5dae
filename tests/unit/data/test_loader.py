"""What every loader promises, shown with the simplest one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loader_cases import N, Noisy, NoisyStream, indices, over_ranks, plain, train
from torch.utils.data import DataLoader, WeightedRandomSampler

from nimble_lightning.data import Loader, make_loader
from nimble_lightning.data.rng import snapshot
from nimble_lightning.errors import CheckpointError, RequestError, TrainerError


def loader(**options: Any) -> Loader:
    return make_loader(torch.arange(N), **{"batch_size": 4, "shuffle": True, **options})


def test_iterating_reads_nothing_before_the_first_batch_is_asked_for() -> None:
    ours = loader()
    early = iter(ours)
    ours.set_epoch(3)
    ours.load_state_dict({"epoch": 3, "samples": 8, "batches": 2})
    assert plain(next(early)) == train(over_epochs(3))[2]


def over_epochs(epoch: int) -> Loader:
    ours = loader()
    ours.set_epoch(epoch)
    return ours


def test_the_position_moves_by_what_was_consumed_not_by_what_was_fetched() -> None:
    ours = loader()
    ahead = iter(ours)
    first, second, third = next(ahead), next(ahead), next(ahead)
    ours.consumed()
    again = loader()
    again.load_state_dict(ours.state_dict())
    assert ours.state_dict()["samples"] == len(first)
    assert train(again, 2) == [plain(second), plain(third)]


def test_fetching_to_the_end_does_not_end_the_epoch_before_its_last_batch_is_consumed() -> None:
    ours = loader()
    batches = list(ours)
    for _ in batches[1:]:
        ours.consumed()
    assert ours.state_dict()["epoch"] == 0
    ours.consumed()
    assert ours.state_dict() == {"epoch": 1, "samples": 0, "batches": 0, "seed": 0, "length": N}


def test_no_batch_can_be_consumed_that_was_not_delivered() -> None:
    ours = loader()
    next(iter(ours))
    ours.consumed()
    with pytest.raises(TrainerError, match="delivered no batch"):
        ours.consumed()


def test_the_end_of_an_epoch_is_the_start_of_the_next_one() -> None:
    ours = loader()
    first, second = train(ours), train(ours)
    assert first != second
    assert sorted(indices([first])) == sorted(indices([second])) == list(range(N))
    assert second == train(over_epochs(1))


def test_a_loop_that_accounts_for_nothing_gets_a_new_order_each_time() -> None:
    ours = loader()
    assert [plain(list(ours)) for _ in range(3)] == [train(over_epochs(epoch)) for epoch in range(3)]


def test_a_loop_broken_off_without_accounting_starts_the_epoch_again() -> None:
    ours = loader()
    first = next(iter(ours))
    assert plain(next(iter(ours))) == plain(first)


def test_an_announced_epoch_is_read_again_as_often_as_it_is_announced() -> None:
    ours = loader()
    runs = []
    for epoch in (0, 0, 2, 1):
        ours.set_epoch(epoch)
        runs.append(plain(list(ours)))
    assert runs == [train(over_epochs(epoch)) for epoch in (0, 0, 2, 1)]


def test_an_announced_epoch_ends_one_that_was_not_read_to_its_end() -> None:
    ours = loader()
    train(ours, 2)
    ours.set_epoch(1)
    assert train(ours) == train(over_epochs(1))


@pytest.mark.parametrize("announced", [0, 1])
def test_an_announced_epoch_does_not_disturb_a_restored_position(announced: int) -> None:
    ours = loader()
    ours.load_state_dict({"epoch": 1, "samples": 8, "batches": 2})
    ours.set_epoch(announced)
    assert train(ours) == train(over_epochs(1))[2:]


def test_restoring_what_was_restored_before_keeps_the_batches_fetched_meanwhile() -> None:
    state = {"epoch": 0, "samples": 8, "batches": 2}
    ours = loader()
    ours.load_state_dict(state)
    ahead = iter(ours)
    first = next(ahead)
    ours.load_state_dict(state)
    ours.consumed()
    assert [plain(first), *plain(list(ahead))] == train(loader())[2:]


def test_the_length_counts_the_batches_consumed_before_a_resume() -> None:
    ours = loader()
    assert len(ours) == 6  # type: ignore[arg-type]
    train(ours, 2)
    other = loader(batch_size=2)
    other.load_state_dict(ours.state_dict())
    assert len(ours) == 6  # type: ignore[arg-type]
    assert len(other) == 2 + 7  # type: ignore[arg-type]
    assert len(train(other)) == 7


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3), (3, 2)])
@pytest.mark.parametrize("source", [lambda: torch.arange(N), Noisy, lambda: lambda: iter(range(N))])
def test_on_another_number_of_ranks_every_remaining_sample_is_seen_once(
    source: Any, before: int, after: int
) -> None:
    first = over_ranks(source, before, batch_size=3)
    seen = [train(rank, 2) for rank in first]
    states = [rank.state_dict() for rank in first]
    assert all(state == states[0] for state in states)
    second = over_ranks(source, after, batch_size=2)
    for rank in second:
        rank.load_state_dict(states[0])
    rest = [train(rank) for rank in second]
    assert len({len(batches) for batches in rest}) == 1
    assert sorted(indices(seen + rest)) == list(range(N))


@pytest.mark.parametrize(
    "source",
    [Noisy, NoisyStream, lambda: DataLoader(Noisy(), 4, sampler=WeightedRandomSampler(torch.ones(N), N))],
)
def test_what_a_sample_draws_is_drawn_once_whatever_the_rank_and_the_epoch(source: Any) -> None:
    batches = [batch for rank in over_ranks(source, 2) for _ in range(2) for batch in train(rank)]
    for column in (-3, -2, -1):
        draws = [draw for batch in batches for draw in batch[column]]
        assert len(set(draws)) == len(draws) >= 2 * N


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("source", [Noisy, NoisyStream, lambda: torch.arange(N)])
def test_the_global_random_states_are_untouched(source: Any, workers: int) -> None:
    torch.randn(1)
    state = snapshot()
    train(make_loader(source(), batch_size=4, shuffle=True, num_workers=workers))
    after = snapshot()
    assert torch.equal(state["torch"], after["torch"])
    assert plain(state["python"]) == plain(after["python"])
    assert plain(state["numpy"]) == plain(after["numpy"])


def test_too_few_samples_for_the_ranks_are_refused_in_training() -> None:
    with pytest.raises(RequestError, match="3 training samples cannot be shared by 4 ranks"):
        make_loader(torch.arange(3), batch_size=1, shuffle=True, world_size=4)


def test_too_few_samples_for_the_ranks_are_shown_to_all_of_them_in_evaluation() -> None:
    ranks = over_ranks(lambda: torch.arange(3), 4, batch_size=2, shuffle=False)
    assert all(rank.replicated for rank in ranks)
    assert [train(rank) for rank in ranks] == [[[0, 1], [2]]] * 4
    assert not over_ranks(lambda: torch.arange(4), 4, shuffle=False)[0].replicated


def test_a_state_of_other_data_is_refused() -> None:
    state = loader().state_dict()
    with pytest.raises(CheckpointError, match="the length of the data was 22 .* and is 10 now"):
        make_loader(torch.arange(10), batch_size=4, shuffle=True).load_state_dict(state)
    with pytest.raises(CheckpointError, match="the seed"):
        loader(seed=1).load_state_dict(state)
    with pytest.raises(CheckpointError, match="it has no batches"):
        loader().load_state_dict({"epoch": 0, "samples": 0})


def test_a_position_with_nothing_left_is_the_start_of_the_next_epoch() -> None:
    ours = loader(batch_size=20, drop_last=True)
    ours.load_state_dict({"epoch": 0, "samples": 20, "batches": 1})
    assert ours.state_dict()["epoch"] == 1
    assert len(ours) == 1  # type: ignore[arg-type]
    stream = make_loader(lambda: iter(range(8)), batch_size=4, shuffle=True)
    stream.load_state_dict({"epoch": 0, "samples": 8, "batches": 2})
    assert train(stream) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert stream.state_dict()["epoch"] == 2


def test_data_that_gives_nothing_is_an_error() -> None:
    with pytest.raises(TrainerError, match="gave no batch in epoch 0"):
        train(make_loader(lambda: iter(()), batch_size=4, shuffle=True))
    with pytest.raises(TrainerError, match="empty"):
        make_loader(torch.arange(0), batch_size=4, shuffle=True)
    with pytest.raises(RequestError, match="drop_last leaves nothing"):
        loader(batch_size=30, drop_last=True)
