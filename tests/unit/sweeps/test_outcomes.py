"""What came of the jobs of a sweep is known by their folders, whoever ran them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nimble_lightning.sweeps.outcomes import MemberOutcome, all_kept, keep, kept


def outcome(number: int) -> MemberOutcome:
    return MemberOutcome(
        number,
        ("params.lr=0.1", "optim=sgd"),
        "finished",
        0,
        Path.cwd() / "sweep" / str(number),
        ("val_loss", 0.25),
        1.5,
        "finished",
        (("val_loss", 0.25), ("accuracy", 0.5)),
    )


def test_an_outcome_is_read_as_it_was_kept() -> None:
    keep(outcome(3))
    assert kept(outcome(3).folder) == outcome(3)
    failed = replace(outcome(3), status="failed", exit_code=1, metric=None, figures=())
    keep(failed)
    assert kept(failed.folder) == failed


def test_jobs_come_in_their_order_and_other_folders_do_not_count() -> None:
    for number in (10, 2, 0):
        keep(outcome(number))
    (Path("sweep") / "notes").mkdir()
    assert [found.number for found in all_kept(Path("sweep").absolute())] == [0, 2, 10]
    assert kept(Path("sweep") / "notes") is None
