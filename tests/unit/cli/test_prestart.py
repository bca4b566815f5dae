"""The server of workers starts before a command is read, if the command is going to use it."""

from __future__ import annotations

import pytest

from nimble_lightning.cli import prestart

TRAINER = "trainer=mine.py"


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    trainers: list[str] = []
    monkeypatch.setattr(prestart, "start", trainers.append)
    return trainers


@pytest.mark.parametrize(
    "words", [[TRAINER], [TRAINER, "seed=1"], ["-m", TRAINER, "seed=1,2"], ["+" + TRAINER]]
)
def test_a_run_or_a_sweep_starts_it_with_its_trainer(words: list[str], started: list[str]) -> None:
    prestart.begin(words)
    assert started == ["mine.py"]


@pytest.mark.parametrize(
    "more",
    [
        "--help",
        "--cfg=job",
        "--version",
        "launch=inline",
        "launch=slurm",
        "hydra/launcher=joblib",
        "signature=oms",
    ],
)
def test_answers_and_workers_from_elsewhere_do_not(more: str, started: list[str]) -> None:
    prestart.begin([TRAINER, more])
    assert started == []


def test_nothing_to_train_does_not(started: list[str]) -> None:
    prestart.begin(["experiment=mine", "seed"])
    assert started == []


def test_one_of_many_ranks_does_not(monkeypatch: pytest.MonkeyPatch, started: list[str]) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "somebody")
    prestart.begin([TRAINER])
    assert started == []
    monkeypatch.setenv("WORLD_SIZE", "two")
    prestart.begin([TRAINER])
    assert started == []
