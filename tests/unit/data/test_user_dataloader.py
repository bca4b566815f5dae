from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from loader_cases import N, Noisy, NoisyStream, indices, over_ranks, plain, resumes_exactly, train
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)

from nimble_lightning.data import Loader, make_loader
from nimble_lightning.data.indexed_loader import IndexedLoader
from nimble_lightning.data.sliced_loader import SlicedLoader

DATA = list(range(N))


class ByEpoch(Sampler[int]):
    """An order that depends on the epoch it was told, as many own samplers have."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return N

    def __iter__(self) -> Iterator[int]:
        return iter(DATA[self.epoch :] + DATA[: self.epoch])


class Batches:
    """A loader of somebody else's."""

    batch_size = 4

    def __init__(self, length: int = 5) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[torch.Tensor]:
        for number in range(self.length):
            yield torch.tensor([number, number]) + torch.rand(())


def batch_sampler() -> BatchSampler:
    return BatchSampler(RandomSampler(DATA), 4, drop_last=False)


def double(samples: list[int]) -> Any:
    return default_collate([2 * sample for sample in samples])


def adopt(ready: Any, **options: Any) -> Loader:
    return make_loader(ready, **{"batch_size": 99, "shuffle": True, **options})


READY = {
    "shuffled": lambda: DataLoader(Noisy(), batch_size=4, shuffle=True),
    "in order": lambda: DataLoader(Noisy(), batch_size=4),
    "stream": lambda: DataLoader(NoisyStream(), batch_size=4),
    "sampler": lambda: DataLoader(Noisy(), batch_size=4, sampler=WeightedRandomSampler(torch.ones(N), 19)),
    "sampler with a generator": lambda: DataLoader(
        Noisy(), batch_size=4, sampler=RandomSampler(DATA, generator=torch.Generator(), num_samples=19)
    ),
    "batch sampler": lambda: DataLoader(Noisy(), batch_sampler=batch_sampler()),
    "no batches": lambda: DataLoader(DATA, batch_size=None),
    "batches": Batches,
}


@pytest.mark.parametrize("kind", READY)
def test_a_resume_at_any_batch_gives_what_would_have_come(kind: str) -> None:
    resumes_exactly(lambda: adopt(READY[kind]()))


@pytest.mark.parametrize("kind", ["sampler", "batch sampler", "batches", "no batches"])
def test_a_resume_on_several_ranks_gives_what_would_have_come(kind: str) -> None:
    for rank in range(2):
        resumes_exactly(lambda rank=rank: adopt(READY[kind](), rank=rank, world_size=2))


def test_a_dataloader_keeps_its_settings() -> None:
    ready = DataLoader(DATA, batch_size=3, shuffle=True, collate_fn=double, drop_last=True, num_workers=1)
    ours = adopt(ready)
    assert ours.options.num_workers == 1
    seen = train(ours)
    assert [len(batch) for batch in seen] == [3] * 7
    assert all(value % 2 == 0 for batch in seen for value in batch)


def test_a_dataloader_in_order_stays_in_order_and_evaluation_is_never_shuffled() -> None:
    for ready, shuffle in ((DataLoader(DATA, batch_size=4), True), (READY["shuffled"](), False)):
        assert indices([train(adopt(ready, shuffle=shuffle))]) == DATA


def test_a_dataloader_over_tensors_is_sliced() -> None:
    dataset = TensorDataset(torch.arange(N), torch.arange(N))
    ours = adopt(DataLoader(dataset, batch_size=4))
    assert isinstance(ours, SlicedLoader)
    assert train(ours) == [plain(batch) for batch in DataLoader(dataset, batch_size=4)]
    assert isinstance(adopt(DataLoader(dataset, collate_fn=list)), IndexedLoader)


def test_a_sampler_is_told_the_epoch_and_passed_over_without_reading_data() -> None:
    read = []

    class Noting(Noisy):
        def __getitem__(self, index: int) -> int:
            read.append(index)
            return index

    def make() -> Loader:
        return adopt(DataLoader(Noting(), batch_size=4, sampler=ByEpoch()))

    ours = make()
    assert indices([train(ours)]) == DATA
    train(ours, 3)
    read.clear()
    again = make()
    again.load_state_dict(ours.state_dict())
    assert len(again) == 6  # type: ignore[arg-type]
    assert indices([train(again)]) == read == [*range(13, N), 0]


def test_a_sampler_that_draws_gets_another_order_every_epoch_and_the_same_every_time() -> None:
    one, other = adopt(READY["batch sampler"]()), adopt(READY["batch sampler"]())
    epochs = [train(one) for _ in range(3)]
    assert [train(other) for _ in range(3)] == epochs
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("world_size", [2, 3, 5])
@pytest.mark.parametrize(
    "source",
    [
        lambda: DataLoader(DATA, batch_size=4, sampler=ByEpoch()),
        lambda: DataLoader(DATA, batch_sampler=BatchSampler(ByEpoch(), 4, drop_last=False)),
        lambda: DataLoader(DATA, batch_sampler=BatchSampler(ByEpoch(), 7, drop_last=False)),
        lambda: DataLoader(DATA, batch_size=4, sampler=DistributedSampler(DATA, 2, 0)),
    ],
)
def test_ranks_share_what_a_sampler_gives(source: Any, world_size: int) -> None:
    ranks = over_ranks(source, world_size)
    lengths = {len(rank) for rank in ranks}  # type: ignore[arg-type]
    seen = [train(rank) for rank in ranks]
    assert {len(batches) for batches in seen} == lengths
    assert sorted(indices(seen)) == DATA


def test_a_batch_sampler_too_short_for_the_ranks_is_shared_by_samples() -> None:
    ranks = over_ranks(lambda: DataLoader(DATA, batch_sampler=[[0, 1], [2, 3], [4]]), 2)
    assert [train(rank) for rank in ranks] == [[[0, 1, 2]], [[3, 4]]]


def test_ready_batches_are_shared_by_rank_and_the_rest_goes_to_all() -> None:
    first, second = ([int(batch[0]) for batch in train(rank)] for rank in over_ranks(Batches, 2))
    assert (first, second) == ([0, 2, 4], [1, 3, 4])
    assert [len(rank) for rank in over_ranks(Batches, 2)] == [3, 3]  # type: ignore[arg-type]
    three = [[int(batch[0]) for batch in train(rank)] for rank in over_ranks(Batches, 3)]
    assert three == [[0, 3, 4], [1, 3, 4], [2, 3, 4]]
    assert [len(rank) for rank in over_ranks(Batches, 3)] == [3, 3, 3]  # type: ignore[arg-type]


def test_ready_batches_are_all_shown_to_every_rank_in_evaluation() -> None:
    ranks = over_ranks(Batches, 2, shuffle=False)
    assert all(rank.replicated for rank in ranks)
    assert [[int(batch[0]) for batch in train(rank)] for rank in ranks] == [[0, 1, 2, 3, 4]] * 2


def test_a_sequential_sampler_is_not_taken_for_one_of_the_users() -> None:
    assert isinstance(adopt(DataLoader(DATA, sampler=SequentialSampler(DATA))), IndexedLoader)


@pytest.mark.parametrize("kind", [kind for kind in READY if kind != "stream"])
def test_a_loop_that_counts_its_batches_ends_the_epoch_without_asking_for_more(kind: str) -> None:
    ours = adopt(READY[kind]())
    batches = iter(ours)
    for _ in range(len(ours)):  # type: ignore[arg-type]
        assert ours.state_dict()["epoch"] == 0
        next(batches)
        ours.consumed()
    assert ours.state_dict()["epoch"] == 1
