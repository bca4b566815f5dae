from __future__ import annotations

import multiprocessing
from typing import Any

import datasets
import pytest
from loader_cases import N, Noisy, indices, over_ranks, plain, resumes_exactly, train

from nimble_lightning.data import Loader, make_loader


class Told(Noisy):
    """A dataset whose samples depend on the epoch it was told."""

    epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, index: int) -> Any:
        return index, self.epoch


def hugging_face() -> datasets.Dataset:
    return datasets.Dataset.from_dict(
        {
            "x": list(range(N)),
            "pair": [[float(i), 0.5] for i in range(N)],
            "ragged": [[1] * (1 + i % 3) for i in range(N)],
            "text": [f"row {i}" for i in range(N)],
        }
    )


def loader(source: Any, **options: Any) -> Loader:
    return make_loader(source, **{"batch_size": 4, "shuffle": True, **options})


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("source", [Noisy, lambda: list(range(N)), hugging_face])
def test_a_resume_at_any_batch_gives_what_would_have_come(source: Any, shuffle: bool) -> None:
    resumes_exactly(lambda: loader(source(), shuffle=shuffle))


def test_a_resume_with_workers_gives_what_would_have_come() -> None:
    resumes_exactly(lambda: loader(Noisy(), num_workers=2), places=[3, 5, 6])


def test_augmentation_is_the_same_for_any_number_of_workers() -> None:
    alone, helped = loader(Noisy()), loader(Noisy(), num_workers=2)
    epochs = [[train(each) for _ in range(2)] for each in (alone, helped)]
    assert epochs[0] == epochs[1]
    assert epochs[0][0] != epochs[0][1]
    draws = [value for batch in epochs[0][0] for column in batch[1:] for value in column]
    assert len(set(draws)) == len(draws)


def test_workers_that_live_on_are_told_the_epoch() -> None:
    ours = loader(Told(), num_workers=1)
    assert [{epoch for batch in train(ours) for epoch in batch[1]} for _ in range(2)] == [{0}, {1}]


def test_ranks_see_every_sample_once() -> None:
    seen = [train(rank) for rank in over_ranks(Noisy, 3)]
    assert [len(batches) for batches in seen] == [2, 2, 2]
    assert sorted(indices(seen)) == list(range(N))


def test_rows_of_a_hugging_face_dataset_become_tensors_where_they_have_a_shape() -> None:
    batch = next(iter(loader(hugging_face(), batch_size=2, shuffle=False)))
    assert plain(batch) == {
        "x": [0, 1],
        "pair": [[0.0, 0.5], [1.0, 0.5]],
        "ragged": [[1], [1, 1]],
        "text": ["row 0", "row 1"],
    }
    assert isinstance(batch["ragged"], list)
    assert batch["pair"].shape == (2, 2)


def test_a_hugging_face_dataset_in_torch_format_gives_the_same_batches() -> None:
    plainly, formatted = (loader(each) for each in (hugging_face(), hugging_face().with_format("torch")))
    assert train(plainly) == train(formatted)


def test_a_collate_function_gets_a_list_of_samples() -> None:
    assert next(iter(loader(hugging_face(), collate=len))) == 4
    assert next(iter(loader(list(range(N)), collate=sorted, shuffle=False))) == [0, 1, 2, 3]


def test_samples_are_read_together_where_the_dataset_can() -> None:
    class Together(Noisy):
        def __getitems__(self, wanted: list[int]) -> list[Any]:
            return [-index for index in wanted]

    assert plain(next(iter(loader(Together(), shuffle=False)))) == [0, -1, -2, -3]


def test_an_epoch_broken_off_leaves_nothing_behind_in_workers() -> None:
    ours = loader(Noisy(), num_workers=2)
    train(ours, 2)
    ours.set_epoch(1)
    fresh = loader(Noisy())
    fresh.set_epoch(1)
    assert train(ours) == train(fresh)


def test_closing_ends_the_workers_and_iterating_again_starts_new_ones() -> None:
    ours = loader(Noisy(), num_workers=1)
    first = train(ours, 2)
    workers = multiprocessing.active_children()
    ours.close()
    assert workers
    assert not multiprocessing.active_children()
    assert first + train(ours) == train(loader(Noisy()))
    ours.close()
