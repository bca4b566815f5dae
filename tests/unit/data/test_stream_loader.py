from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from typing import Any

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_cases import N, NoisyStream, indices, over_ranks, resumes_exactly, train
from torch.utils.data import IterableDataset, get_worker_info

from nimble_lightning.data import Loader, make_loader
from nimble_lightning.data.placed_stream import PlacedStream, StreamOrder
from nimble_lightning.data.sample_order import SamplePlan
from nimble_lightning.data.sequential_source import tells_its_state
from nimble_lightning.errors import CheckpointError, RequestError, TrainerError


class Splitting(IterableDataset[int]):
    """Takes a part of the data for each worker it sees."""

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        return iter(range(N) if info is None else range(info.id, N, 7))


def hugging_face(shards: int = 3) -> datasets.IterableDataset:
    return datasets.Dataset.from_dict({"x": list(range(N))}).to_iterable_dataset(num_shards=shards)


def shuffled() -> datasets.IterableDataset:
    return hugging_face().shuffle(seed=1, buffer_size=5)


class Placed(PlacedStream):
    """Goes on at any place, and knows how much it has read."""

    def __init__(self, fails_at: int = N) -> None:
        self.read, self.fails_at = 0, fails_at

    def read_from(
        self, place: dict[str, Any] | None, order: StreamOrder
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        chance = random.Random(repr(order))
        numbers = chance.sample(range(N), N) if order.shuffle else list(range(N))
        for at in range(place["after"] if place else 0, N):
            if at == self.fails_at:
                raise RequestError("the data is wrong here")
            self.read += 1
            yield numbers[at], {"after": at + 1, "of": N}

    def require(self, place: dict[str, Any]) -> None:
        if place["of"] != N:
            raise CheckpointError("other data")


def generate() -> Iterator[int]:
    yield from range(N)


def loader(source: Any, **options: Any) -> Loader:
    return make_loader(source, **{"batch_size": 4, "shuffle": True, **options})


@pytest.mark.parametrize("source", [NoisyStream, lambda: generate, hugging_face, shuffled, Placed])
def test_a_resume_at_any_batch_gives_what_would_have_come(source: Any) -> None:
    resumes_exactly(lambda: loader(source()))


@pytest.mark.parametrize("source", [NoisyStream, hugging_face, Placed])
def test_a_resume_with_workers_gives_what_would_have_come(source: Any) -> None:
    resumes_exactly(lambda: loader(source(), num_workers=2), places=[4, 6])


@pytest.mark.parametrize("source", [NoisyStream, Splitting, hugging_face, shuffled, Placed])
def test_workers_change_nothing(source: Any) -> None:
    alone, helped = loader(source()), loader(source(), num_workers=2)
    for _ in range(2):
        assert train(alone) == train(helped)


@pytest.mark.parametrize("source", [NoisyStream, hugging_face, shuffled, Placed])
def test_a_resume_on_several_ranks_gives_what_would_have_come(source: Any) -> None:
    for rank in range(2):
        resumes_exactly(lambda rank=rank: loader(source(), rank=rank, world_size=2, batch_size=3))


@given(length=st.integers(1, 60), batch=st.integers(1, 5), world=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_a_stream_is_cut_like_data_of_known_length(length: int, batch: int, world: int) -> None:
    if length < world:
        return
    ranks = over_ranks(lambda: lambda: iter(range(length)), world, batch_size=batch)
    for number, rank in enumerate(ranks):
        known = [
            list(range(part.begin, part.end)) for part in SamplePlan(batch, number, world).shares(length)
        ]
        assert train(rank) == known


def test_ranks_draw_other_random_numbers_for_their_shares() -> None:
    first, second = (
        {batch[-1] for batch in train(rank)}
        for rank in over_ranks(lambda: generate, 2, collate=lambda rows: [*rows, random.random()])
    )
    assert len(first | second) == len(first) + len(second) == 6


class Shuffled(IterableDataset[int]):
    """Draws its order from a generator that it made itself."""

    def __init__(self) -> None:
        self.random = random.Random(0)

    def __iter__(self) -> Iterator[int]:
        yield from self.random.sample(range(N), N)


def test_a_streams_own_generator_draws_anew_each_epoch() -> None:
    loader = make_loader(Shuffled(), batch_size=N, shuffle=True)
    epochs = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        epochs.append(next(iter(loader)).tolist())
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(N))
    assert epochs[0] != epochs[1]


def test_every_epoch_is_announced_to_the_stream() -> None:
    ours = loader(NoisyStream())
    epochs = [train(ours) for _ in range(2)]
    assert [{epoch for batch in each for epoch in batch[1]} for each in epochs] == [{0}, {1}]
    assert indices([epochs[0]]) != indices([epochs[1]])
    assert sorted(indices([epochs[0]])) == sorted(indices([epochs[1]])) == list(range(N))


def test_the_order_of_a_stream_does_not_depend_on_how_it_is_cut() -> None:
    small = indices([train(loader(NoisyStream(), batch_size=2))])
    assert small == indices([train(loader(NoisyStream(), batch_size=5))])


def test_a_hugging_face_stream_is_taken_up_where_it_was_left() -> None:
    read: list[int] = []

    def note(row: dict[str, Any]) -> dict[str, Any]:
        read.append(row["x"])
        return row

    ours = loader(hugging_face().map(note))
    train(ours, 4)
    read.clear()
    again = loader(hugging_face().map(note))
    again.load_state_dict(ours.state_dict())
    assert len(train(again)) == 2
    assert min(read) >= 8 * 2


def test_a_shuffle_buffer_is_filled_again_rather_than_lost(caplog: pytest.LogCaptureFixture) -> None:
    assert tells_its_state(hugging_face())
    assert not tells_its_state(shuffled())
    assert not tells_its_state(shuffled().map(dict))
    assert not tells_its_state(datasets.interleave_datasets([hugging_face(), shuffled()]))
    ours = loader(shuffled())
    first = train(ours, 3)
    again = loader(shuffled())
    again.load_state_dict(ours.state_dict())
    with caplog.at_level(logging.WARNING, "datasets"):
        rest = train(again)
    assert sorted(row for batch in first + rest for row in batch["x"]) == list(range(N))
    assert not caplog.records


def test_a_stream_too_short_for_the_ranks_is_refused_in_training_and_shown_to_all_in_evaluation() -> None:
    def source() -> Any:
        return lambda: iter(range(3))

    with pytest.raises(RequestError, match="3 training samples cannot be shared by 4 ranks"):
        train(over_ranks(source, 4)[0])
    ranks = over_ranks(source, 4, batch_size=2, shuffle=False)
    assert [train(rank) for rank in ranks] == [[[0, 1], [2]]] * 4
    assert all(rank.replicated for rank in ranks)


def test_a_function_that_returns_nothing_to_iterate_over_is_an_error() -> None:
    with pytest.raises(TrainerError, match="'<lambda>' returned a NoneType"):
        train(loader(lambda: None))


def test_a_stream_has_no_length() -> None:
    assert not hasattr(loader(generate), "__len__")


def test_random_draws_of_a_hugging_face_stream_go_on_where_they_were_left() -> None:
    def augment(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "noise": random.random()}

    resumes_exactly(lambda: loader(hugging_face().map(augment)))


def test_a_restored_hugging_face_stream_can_be_read_from_its_start_again() -> None:
    ours = loader(hugging_face())
    start = ours.state_dict()
    whole = train(ours)
    again = loader(hugging_face())
    train(again, 2)
    middle = again.state_dict()
    again.load_state_dict(start)
    again.load_state_dict(middle)
    assert train(again) == whole[2:]
    again.load_state_dict(start)
    assert train(again) == whole


def test_an_end_that_was_fetched_ahead_ends_the_epoch_with_the_last_batch_consumed() -> None:
    ours = loader(generate)
    for _ in list(ours):
        assert ours.state_dict()["epoch"] == 0
        ours.consumed()
    assert ours.state_dict() == {"epoch": 1, "samples": 0, "batches": 0, "seed": 0}


def test_a_stream_that_says_its_place_is_not_read_again() -> None:
    first = loader(Placed())
    train(first, 4)
    source = Placed()
    resumed = loader(source)
    resumed.load_state_dict(first.state_dict())
    assert len(train(resumed)) == 2
    assert source.read == N - 16
    other = first.state_dict()
    other["place"]["source"]["of"] = N + 1
    with pytest.raises(CheckpointError, match="other data"):
        loader(Placed()).load_state_dict(other)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_refusal_while_reading_is_said_in_its_own_words(workers: int) -> None:
    with pytest.raises(RequestError, match="^the data is wrong here$"):
        train(loader(Placed(fails_at=9), num_workers=workers))
