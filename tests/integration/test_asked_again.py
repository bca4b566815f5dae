"""A run that is asked for again: refused as another one, or trained further to the bits of a longer one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from forked_command import Command
from killed_runs import TRAINER, digests, faults, job

from nimble_lightning.errors import RequestError
from nimble_lightning.launch.start import start
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.proof import generate, verify
from nimble_lightning.runs.result import Result

CONSTANT = (
    "schedule=constant",
    "callbacks=[default,ema]",
    "callbacks.progress=null",
    "callbacks.ema.decay=0.9",
)
Asked = Callable[..., Result]


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """A run of so many epochs in this process, in a folder of its own."""

    def run(name: str, epochs: int, *more: str) -> Result:
        overrides = ("launch=inline", *CONSTANT, f"lightning.max_epochs={epochs}", *more)
        return start(job(tmp_path / name, *overrides))

    return run


def figures(result: Result) -> dict[str, float]:
    timed = ("train_runtime", "train_steps_per_second", "train_samples_per_second")
    return {name: value for name, value in result.metrics.items() if name not in timed}


def test_a_finished_run_is_trained_further_to_the_bits_of_a_longer_one(asked: Asked) -> None:
    whole, short = asked("whole", 3), asked("run", 1)
    longer = asked("run", 3)
    assert [attempt["first_step"] for attempt in longer.attempts] == [0, short.global_step]
    assert digests(longer.folder) == digests(whole.folder)
    assert figures(longer) == figures(whole)
    assert longer.metrics["train_runtime"] > short.metrics["train_runtime"]
    assert longer.best_checkpoint is not None
    assert whole.best_checkpoint is not None
    assert longer.best_checkpoint.name == whole.best_checkpoint.name
    assert asked("run", 3).message == "The run test is finished already."
    with pytest.raises(RequestError, match="has trained .* in 3 epochs, which is more"):
        asked("run", 1)


def test_one_that_ended_within_an_epoch_has_the_rest_of_it(asked: Asked) -> None:
    whole, short = asked("whole", -1, "+lightning.max_steps=30"), asked("run", -1, "+lightning.max_steps=14")
    longer = asked("run", -1, "+lightning.max_steps=30")
    assert (short.global_step, longer.global_step) == (14, 30)
    assert digests(longer.folder) == digests(whole.folder)
    assert figures(longer) == figures(whole)


def test_judged_once_more_a_run_has_the_figures_it_had(asked: Asked) -> None:
    before = asked("run", 1)
    criteria = ("validator=threshold", 'validator.criteria=["val_loss < 0"]')
    judged = asked("run", 1, *criteria)
    assert judged.metrics == before.metrics
    assert (judged.exit_code, judged.verdict["passed"]) == (3, False)
    assert [(a["first_step"], a["last_step"]) for a in judged.attempts][1] == (judged.global_step,) * 2
    assert asked("run", 1).exit_code == 3, "a verdict stays, though nobody asks for it now"


def test_one_that_stopped_early_is_judged_as_it_is_and_goes_on_with_more_patience(asked: Asked) -> None:
    stops = (
        "callbacks=[default,ema,early_stopping]",
        "callbacks.early_stopping.min_delta=1",
        "++lightning.val_check_interval=1.0",
    )
    patient = "callbacks.early_stopping.patience=2"
    before = asked("run", 9, *stops, "callbacks.early_stopping.patience=1")
    judged = asked(
        "run",
        9,
        *stops,
        "callbacks.early_stopping.patience=1",
        "validator=threshold",
        'validator.criteria=["val_loss < 0"]',
    )
    assert (judged.metrics, judged.exit_code) == (before.metrics, 3)
    assert "ended by itself" in asked("run", 10, *stops, "callbacks.early_stopping.patience=1").message
    longer, whole = (asked(name, 9, *stops, patient) for name in ("run", "whole"))
    assert before.global_step < longer.global_step
    assert digests(longer.folder) == digests(whole.folder)
    assert figures(longer) == figures(whole)


def test_a_validator_that_cannot_judge_leaves_the_run_finished(asked: Asked) -> None:
    before = asked("run", 1)
    with pytest.raises(RequestError, match="holdout"):
        asked("run", 1, "validator=holdout")
    assert read_json(before.folder / "run.json")["status"] == "finished"
    assert asked("run", 1).metrics == before.metrics


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_killed_while_it_is_trained_further_it_ends_with_the_same_bits(tmp_path: Path, devices: int) -> None:
    run = functools.partial(job, devices=devices)
    whole = start(run(tmp_path / "whole", "schedule=constant", "lightning.max_epochs=4"))
    first = start(run(tmp_path / "run", "schedule=constant", "lightning.max_epochs=2"))
    kill = faults(f"kill@step={first.global_step + 4},attempt=2")
    longer = start(run(tmp_path / "run", "schedule=constant", "lightning.max_epochs=4", *kill))
    assert [attempt["cause"] for attempt in longer.attempts] == ["finished", "killed", "finished"]
    assert digests(longer.folder) == digests(whole.folder)
    assert figures(longer) == figures(whole)


def test_the_command_refuses_other_settings_and_signs_a_finished_run(trainer_words: list[str]) -> None:
    Command(*trainer_words).end_with(0)
    told = Command(*trainer_words, "seed=3").end_with(2)
    assert "The run first has other settings:\n  seed: 0 then, 3 now\nAsk as before" in told
    generate(Path("key.pem"), kind="ed25519")
    signed = Command(*trainer_words, "signature=ed25519", "signature.key=key.pem").end_with(0)
    assert "is finished; now it is signed (signature: none then, Ed25519 now)" in signed
    assert verify("outputs/TinyTrainer/first", "key.pub.pem").verified
    assert "is finished already" in Command(*trainer_words).end_with(0)


@pytest.fixture
def trainer_words() -> list[str]:
    return [
        f"trainer={TRAINER}",
        "run_id=first",
        "lightning.max_epochs=1",
        "lightning.accelerator=cpu",
        "callbacks.progress=null",
    ]
