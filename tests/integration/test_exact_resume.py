"""A run that is cut off and continued ends with the bits of one that was not, to the last number logged."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from resume_cases import SCHEDULES, Case, run, seed_all
from two_ranks import TwoRanks

from nimble_lightning.callbacks import AutoRetry, ExactResume
from nimble_lightning.checkpoint import verify
from nimble_lightning.data import rng
from nimble_lightning.loggers import read_metrics
from nimble_lightning.testing import Faults

# Where the run is cut off, in steps done. An epoch has six; after the fourth of each follows a validation.
POINTS = {
    "after the first step": 1,
    "in the middle of an epoch": 8,
    "before the last batch of an epoch": 11,
    "before the first batch of the next": 12,
    "right after a validation": 10,
    "at the end of the run": 18,
}
# With two batches a step an epoch has three, and the first validation follows the second.
ACCUMULATED = dict(zip(POINTS, (1, 4, 5, 6, 2, 9), strict=True))

DATA = [Case("tensors")] + [
    Case(source, workers)
    for source in ("samples", "stream", "hugging_face", "dataloader")
    for workers in (0, 2)
]
FOREIGN = [Case("dataloader", workers, "foreign") for workers in (0, 2)]
EXTRAS = [
    *(Case(extra=extra) for extra in ("plateau", "onecycle", "accumulate", "clip", "ema", "nothing")),
    Case("dataloader", 0, "foreign_ema"),
    Case("dataloader", 0, "foreign_plateau"),
]


def everywhere(cases: list[Case], first: int) -> list[Any]:
    """Each case at each point; in the default run at two of the six, which are others from case to case."""
    return [
        pytest.param(case, point, marks=[] if (row + column) % 3 == first else [pytest.mark.slow])
        for row, case in enumerate(cases)
        for column, point in enumerate(POINTS)
    ]


@pytest.fixture(scope="module")
def ranks() -> Iterator[TwoRanks]:
    pair = TwoRanks()
    yield pair
    pair.close()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before, state = torch.get_num_threads(), rng.snapshot()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    rng.restore(state)


def on_one(case: Case, folder: Path, cut: int | None = None, *, resume: bool = False) -> list[Any]:
    return [run(0, 1, case, folder, cut, resume)]


@functools.cache
def uninterrupted(pair: TwoRanks | None, case: Case) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        return on_one(case, Path(folder)) if pair is None else pair.run(run, 2, case, Path(folder))


def require_same(case: Case, step: int, folder: Path, pair: TwoRanks | None = None) -> list[Any]:
    """Cut off and continue; returns what every rank had at the end.

    Which samples were seen is noted in an attribute of the trainer, which goes on as everything does.
    """
    expected = uninterrupted(pair, case)
    if pair is None:
        _, after = on_one(case, folder, step), on_one(case, folder, resume=True)
    else:
        _, after = pair.run(run, 2, case, folder, step), pair.run(run, 2, case, folder, None, True)
    ended = step == max((ACCUMULATED if case.extra == "accumulate" else POINTS).values())
    for whole, outcome in zip(expected, after, strict=True):
        # What was logged last is the Trainer's, and a run that has nothing left to do logs nothing.
        names = whole.keys() - ({"metrics"} if ended else set())
        different = sorted(name for name in names if whole[name] != outcome[name])
        assert not different, f"cut off {step}: {different}"
    return after


def name_of(value: object) -> str:
    return f"{value.source}-{value.workers}-{value.extra}" if isinstance(value, Case) else str(value)


@pytest.mark.parametrize(("case", "point"), everywhere([*DATA, *FOREIGN, *EXTRAS], 0), ids=name_of)
def test_a_run_on_one_rank_ends_with_the_same_bits(tmp_path: Path, case: Case, point: str) -> None:
    step = (ACCUMULATED if case.extra == "accumulate" else POINTS)[point]
    require_same(case, step, tmp_path)


@pytest.mark.parametrize(("case", "point"), everywhere([*DATA, *FOREIGN], 1), ids=name_of)
def test_a_run_on_two_ranks_ends_with_the_same_bits(
    tmp_path: Path, ranks: TwoRanks, case: Case, point: str
) -> None:
    require_same(case, POINTS[point], tmp_path, ranks)


def test_the_cases_are_different_enough_to_notice_what_is_not_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ExactResume, "_restore", lambda self: None)
    with pytest.raises(AssertionError, match="optimizer.*random.*weights"):
        require_same(Case(), 8, tmp_path)


# --- one promise each ---


def test_each_rank_gets_its_own_random_numbers_back(tmp_path: Path, ranks: TwoRanks) -> None:
    first, second = require_same(Case(), 8, tmp_path, ranks)
    assert first["random"] != second["random"]
    assert first["seen"] != second["seen"]


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_data_draws_nothing_from_the_global_generators(workers: int) -> None:
    from resume_cases import parts, plain

    _, data = parts(Case("samples", workers), 22)
    data.setup("fit")
    loader = data.train_dataloader()
    before = plain(rng.snapshot())
    assert len(list(loader)) == 6
    loader.close()
    assert plain(rng.snapshot()) == before


def test_with_workers_the_first_resumed_epoch_has_the_order_of_its_own_number(tmp_path: Path) -> None:
    (outcome,) = require_same(Case("dataloader", 2, "foreign"), 8, tmp_path)
    epochs = [outcome["seen"][start : start + 6] for start in (0, 6, 12)]
    assert len({str(epoch) for epoch in epochs}) == 3
    assert all(sorted(sum(epoch, [])) == list(range(22)) for epoch in epochs)


@pytest.mark.parametrize("source", ["samples", "stream"])
def test_a_run_saved_at_the_end_of_an_epoch_does_not_end_early(tmp_path: Path, source: str) -> None:
    (outcome,) = require_same(Case(source), POINTS["before the first batch of the next"], tmp_path)
    assert len(outcome["seen"]) == 18
    assert outcome["counted"]["epoch_loop.batch_progress"]["total"]["completed"] == 18


def test_a_schedule_that_asks_for_the_length_of_the_run_does_not_cost_the_position(tmp_path: Path) -> None:
    (outcome,) = require_same(Case("dataloader", 0, "foreign"), 8, tmp_path)
    assert outcome["schedules"][0]["total_steps"] == 18


def test_an_ordinary_loader_goes_on_within_the_epoch(tmp_path: Path) -> None:
    on_one(Case("dataloader", 0, "foreign"), tmp_path, 8)
    (whole,) = on_one(Case("dataloader", 0, "foreign"), tmp_path, resume=True)
    assert len(whole["seen"]) == 18
    assert whole["seen"][8] == uninterrupted(None, Case("dataloader", 0, "foreign"))[0]["seen"][8]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_position_is_what_was_trained_on_and_not_what_was_fetched(tmp_path: Path, workers: int) -> None:
    on_one(Case("stream", workers), tmp_path, 8)
    saved = torch.load(tmp_path / "some.ckpt", weights_only=True)
    position = saved["NimbleData"]["train"]
    assert (position["epoch"], position["batches"], position["samples"]) == (1, 2, 8)


@pytest.mark.parametrize("extra", ["cosine", "onecycle", "plateau", "foreign", "foreign_plateau"])
def test_the_learning_rate_follows_the_same_curve(tmp_path: Path, extra: str) -> None:
    case = Case("dataloader" if "foreign" in extra else "tensors", 0, extra)
    (outcome,) = require_same(case, POINTS["right after a validation"], tmp_path)
    assert outcome["schedules"]
    if extra in SCHEDULES:
        rates = {metrics["lr"] for _, metrics in outcome["history"] if "lr" in metrics}
        assert len(rates) > 1


def test_the_best_checkpoints_are_still_known_after_a_resume(tmp_path: Path) -> None:
    (outcome,) = require_same(Case(), POINTS["in the middle of an epoch"], tmp_path)
    assert len(outcome["best"]) == 2
    assert set(outcome["best"]) == set(outcome["best_files"])


def test_averaged_weights_are_averages_of_the_trainers_own(tmp_path: Path) -> None:
    (outcome,) = require_same(Case(extra="ema"), POINTS["in the middle of an epoch"], tmp_path)
    averaged = {name.removeprefix("module.") for name in outcome["averaged"][0]}
    assert averaged == {"n_averaged", *outcome["weights"]}


def test_nothing_that_was_logged_before_is_lost(tmp_path: Path) -> None:
    on_one(Case(), tmp_path, 8)
    before = (tmp_path / "metrics.jsonl").read_text()
    assert before
    (outcome,) = on_one(Case(), tmp_path, resume=True)
    assert (tmp_path / "metrics.jsonl").read_text().startswith(before)
    steps = [
        row["step"] for row in read_metrics(tmp_path / "metrics.jsonl") if "train_loss" in row["metrics"]
    ]
    assert steps == [2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert outcome["history"] == uninterrupted(None, Case())[0]["history"]


def test_a_checkpoint_says_what_its_bits_depend_on(tmp_path: Path) -> None:
    on_one(Case(), tmp_path, 8)
    manifest = verify(tmp_path / "some.ckpt")
    assert manifest.threads == torch.get_num_threads()
    assert manifest.device == "cpu"
    assert manifest.versions["torch"] == torch.__version__


def test_a_run_saved_at_its_end_goes_on_when_more_epochs_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resume_cases

    case = Case(extra="nothing")
    expected = uninterrupted(None, case)[0]
    monkeypatch.setattr(resume_cases, "EPOCHS", 2)
    on_one(case, tmp_path, 12)
    monkeypatch.setattr(resume_cases, "EPOCHS", 3)
    (outcome,) = on_one(case, tmp_path, resume=True)
    names = ("seen", "weights", "optimizer", "random")
    assert {name: outcome[name] for name in names} == {name: expected[name] for name in names}


def test_on_another_number_of_ranks_no_sample_is_lost_or_repeated(
    tmp_path: Path, ranks: TwoRanks, caplog: pytest.LogCaptureFixture
) -> None:
    before = ranks.run(run, 2, Case("samples"), tmp_path, 8)
    (after,) = [run(0, 1, Case("samples"), tmp_path, None, True, 44)]
    assert "bits may differ" in caplog.text
    trained = [sample for batches in before for batch in batches[6:] for sample in batch]
    rest = [sample for batch in after["seen"][8:] for sample in batch][: 44 - len(trained)]
    assert sorted(trained + rest) == list(range(44))


def committed(folder: Path, case: Case, *callbacks: Any) -> list[dict[str, Any]]:
    """Every checkpoint that somebody else committed in a run, oldest first."""
    from resume_cases import parts, trainer_for

    trainer = trainer_for(case, 1, folder, list(callbacks))
    module, data = parts(case, 22)
    with suppress(RuntimeError):
        trainer.fit(module, datamodule=data)
    paths = sorted((folder / "checkpoints" / "steps").glob("step-*.ckpt"))
    return [torch.load(path, weights_only=True) for path in paths]


def test_a_save_by_time_waits_for_the_end_of_an_accumulation_window(tmp_path: Path) -> None:
    saved = committed(tmp_path, Case(extra="accumulate"), AutoRetry(save_every_minutes=0.0))
    assert saved
    for checkpoint in saved:
        batches = checkpoint["NimbleData"]["train"]["batches"]
        assert batches % 2 == 0, f"step {checkpoint['global_step']} was saved within its window"


def test_an_error_leaves_no_checkpoint_from_within_a_step(tmp_path: Path) -> None:
    saved = committed(tmp_path, Case(), AutoRetry(save_every_n_steps=2), Faults("raise@step=9"))
    assert [checkpoint["global_step"] for checkpoint in saved] == [6, 8]
    assert all(checkpoint["nimble"]["between_steps"] for checkpoint in saved)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")
def test_a_checkpoint_of_lightnings_own_at_the_end_of_a_step_is_exact_as_well(tmp_path: Path) -> None:
    from resume_cases import parts, trainer_for

    case = Case("dataloader", 0, "foreign")
    own = ModelCheckpoint(dirpath=tmp_path, filename="some", every_n_train_steps=8, save_top_k=1)
    seed_all(0)
    module, _ = parts(case, 22)
    with suppress(RuntimeError):
        trainer_for(case, 1, tmp_path, [own, Faults("raise@step=10")]).fit(module)
    (after,) = on_one(case, tmp_path, resume=True)
    expected = uninterrupted(None, case)[0]
    assert after["seen"] == expected["seen"]
    assert after["weights"] == expected["weights"]
