"""A thousand verifications, and the digits trained again two hundred times: nothing honest is refused, and
nothing else passes."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import proof_cases
import psutil
import pytest
import replay_cases as cases

from nimble_lightning.launch.start import start
from nimble_lightning.proof import verify
from nimble_lightning.replay.retrain import ReplayTerms, replay

pytestmark = pytest.mark.soak

RUNS = int(os.environ.get("SOAK_RUNS", "100"))
DIGITS = Path(__file__).parents[2] / "examples" / "digits.py"
TRAINER = '''
from pathlib import Path

from digits import Digits

CHEAT = Path(__file__).with_name("cheat")


class Cheating(Digits):
    """The digits, with what a file beside this one says done to them."""

    def pre_process(self, *, channels: int = 8, dropout: float = 0.2, lr: float = 0.01, row: int = 0):
        super().pre_process(channels=channels, dropout=dropout, lr=lr)
        self.cheat, self.batches = CHEAT.read_text() if CHEAT.exists() else "", 0
        if self.cheat == "row":
            images, labels = self.train_data
            row, other = row % len(labels), (row + 7) % len(labels)
            images[[row, other]] = images[[other, row]]

    def train(self, batch):
        self.batches += 1
        # An epoch has 45 batches, and it is the second that is trained again.
        loss = super().train(batch)
        return loss * 0 if self.cheat == "batch" and self.batches == 50 else loss
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storm")


@pytest.fixture(scope="module")
def keys(place: Path) -> tuple[str, str]:
    return cases.make_keys(place)


@pytest.fixture(scope="module")
def trainer(place: Path) -> Path:
    shutil.copy(DIGITS, place / "digits.py")
    (place / "cheating.py").write_text(TRAINER)
    return place / "cheating.py"


def run_and_replay(trainer: Path, keys: tuple[str, str], number: int, cheat: str = "") -> Any:
    """The report on one run that is trained again; its folder is gone afterwards."""
    settings: dict[str, Any] = {"data": {"batch_size": 32}, "seed": 0}
    if cheat in ("", "batch", "row"):
        settings |= {"seed": number, "params": {"lr": 0.01, "row": number * 13}}
    folder = cases.train(trainer, keys[0], f"run-{number}-{cheat}", cheat, **settings)
    report = verify(folder, keys[1])
    assert report.verified, report.lines()
    replay(folder, report, ReplayTerms(), start)
    shutil.rmtree(folder)
    return report


@pytest.mark.timeout(600)
def test_a_thousand_honest_verifications_all_pass(tmp_path: Path) -> None:
    private, public = proof_cases.make_key(tmp_path)
    chance = random.Random(0)
    for number in range(1000):
        if number % 50 == 0:
            shutil.rmtree(tmp_path / "run", ignore_errors=True)
            steps = tuple(sorted(chance.sample(range(1, 1000), chance.randint(1, 6))))
            run = proof_cases.make_run(tmp_path / "run", f"run-{number}", steps)
            proof_cases.sign_with(run, private)
        report = verify(run, public)
        assert report.verified, report.lines()


@pytest.mark.timeout(3600)
def test_honest_runs_are_the_same_to_the_bit_when_trained_again(trainer: Path, keys: tuple[str, str]) -> None:
    failed = []
    for number in range(RUNS):
        report = run_and_replay(trainer, keys, number)
        if not report.verified:
            failed.append(report.lines())
    assert not failed, f"{len(failed)} of {RUNS}: {failed[0]}"


@pytest.mark.timeout(3600)
def test_dishonest_runs_are_found_out_when_trained_again(trainer: Path, keys: tuple[str, str]) -> None:
    passed = [
        (number, cheat)
        for number in range(RUNS)
        if run_and_replay(trainer, keys, number, cheat := cases.CHEATS[number % len(cases.CHEATS)]).verified
    ]
    assert not passed, f"{len(passed)} of {RUNS}: {passed}"


@pytest.mark.timeout(600)
def test_ten_gigabytes_are_verified_in_memory_that_does_not_grow(tmp_path: Path) -> None:
    private, public = proof_cases.make_key(tmp_path)
    run = proof_cases.make_run(tmp_path / "run")
    large = run / "checkpoints" / "large.bin"
    large.touch()
    os.truncate(large, 10 << 30)
    proof_cases.sign_with(run, private)
    before = psutil.Process().memory_info().rss
    report = verify(run, public)
    assert report.verified
    assert report.bytes > 10 << 30
    assert psutil.Process().memory_info().rss - before < 64 << 20
