"""A run that is asked for again: what is left of it to do, by what is in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.run_files import read_json, write_json
from nimble_lightning.report import shipped_defaults
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.request import rerun

FIGURES = {"global_step": 50, "train_loss": 0.25, "val_loss": 0.5}
JUDGED = {"passed": None, "summary": "none asked", "validator": "NoValidator", "criteria": []}
THRESHOLD = {"_target_": "nimble_lightning.validators.Threshold", "criteria": ["val_loss < 1"]}


def job(**more: Any) -> Job:
    Path("mine.py").touch()
    base = shipped_defaults.merged(
        shipped_defaults.defaults(), {"run_id": "one", "lightning": {"max_epochs": 5}}
    )
    base["hydra"] = {}
    return Job.from_config(
        OmegaConf.create(shipped_defaults.merged(base, more)), trainer=f"{Path('mine.py').resolve()}:Mine"
    )


def left(status: str = "finished", epochs: int = 5, **asked: Any) -> Job:
    """A run as another command left it."""
    then = job(**asked)
    then.save()
    attempt = {"number": 1, "start": 1.0, "end": 3.0, "first_step": 0, "code": then.code}
    write_json(then.folder.run, {"status": status, "metrics": FIGURES, "attempts": [attempt]})
    flag = {"metrics": FIGURES, "best_checkpoint": None, "verdict": JUDGED, "epochs": epochs}
    if status == "finished":
        write_json(then.folder.finished, flag)
    return then


def test_one_that_is_asked_for_as_before_is_finished() -> None:
    left()
    done = rerun.rest_of(job()).done
    assert done is not None
    assert (done.status, done.metrics, done.message) == (
        "finished",
        FIGURES,
        "The run one is finished already.",
    )
    assert rerun.rest_of(job(resume="never")).done is None


@pytest.mark.parametrize("status", ["finished", "stopped"])
@pytest.mark.parametrize("resume", ["auto", "never"])
def test_other_settings_are_refused_with_both_values_and_the_two_ways_on(status: str, resume: str) -> None:
    left(status)
    with pytest.raises(RequestError) as refused:
        rerun.rest_of(job(seed=3, data={"batch_size": 4}, resume=resume))
    assert str(refused.value) == (
        "The run one has other settings:\n"
        "  seed: 0 then, 3 now\n"
        "  data.batch_size: 32 then, 4 now\n"
        "Ask as before, or start another run: run_id=NAME"
    )
    with pytest.raises(RequestError, match="another sweep: sweep_id=NAME"):
        rerun.rest_of(job(seed=3, sweep_id="s"))


def test_a_longer_one_is_trained_further_and_says_what_becomes_of_its_schedule() -> None:
    left()
    rest = rerun.rest_of(job(lightning={"max_epochs": 9}))
    assert rest.done is None
    assert rest.trains
    assert rest.told == "The run one is trained further, from step 50: lightning.max_epochs: 5 then, 9 now"
    left(schedule=shipped_defaults.block("schedule", "cosine")["schedule"])
    rest = rerun.rest_of(
        job(lightning={"max_epochs": 9}, schedule=shipped_defaults.block("schedule", "cosine")["schedule"])
    )
    assert "schedule (cosine) is laid anew" in rest.told


@pytest.mark.parametrize("limit", [{"max_epochs": 4}, {"max_steps": 49}])
@pytest.mark.parametrize("status", ["finished"])
def test_fewer_steps_than_it_has_trained_are_refused(limit: dict[str, int], status: str) -> None:
    left(status)
    with pytest.raises(
        RequestError, match=r"has trained 50 steps in 5 epochs, which is more:\n  lightning.max_"
    ):
        rerun.rest_of(job(lightning=limit))


def test_one_that_ended_by_itself_goes_on_only_if_what_ended_it_changes() -> None:
    stops = {
        "early_stopping": {
            **shipped_defaults.block("callbacks", "early_stopping")["callbacks"]["early_stopping"]
        }
    }
    left(epochs=3, callbacks=stops)
    done = rerun.rest_of(job(lightning={"max_epochs": 9}, callbacks=stops)).done
    assert done is not None
    assert "it ended by itself after 3 epochs, which lightning.max_epochs does not change" in done.message
    patient = {"early_stopping": {**stops["early_stopping"], "patience": 9}}
    assert "trained further" in rerun.rest_of(job(callbacks=patient)).told


def test_a_finished_one_is_only_judged_where_only_that_is_asked_for() -> None:
    left()
    rest = rerun.rest_of(job(validator=THRESHOLD))
    assert (rest.done, rest.trains, rest.needs_model) == (None, False, True)
    assert rest.told == "The run one is finished; now it is judged (validator: none then, Threshold now)"
    assert not rerun.rest_of(job(report=60)).needs_model


def test_what_is_not_asked_for_any_more_stays_done() -> None:
    left(validator=THRESHOLD, report=60)
    done = rerun.rest_of(job(report=False)).done
    assert done is not None
    with rerun.reopened(signed := job(report=30), rerun.rest_of(signed)):
        assert Job.load(signed.folder.path).config.validator == THRESHOLD


def test_what_acts_in_training_is_refused_or_told_where_none_is_left() -> None:
    left()
    with pytest.raises(
        RequestError, match="trained with other settings:\n  lightning.devices: auto then, 2 now"
    ):
        rerun.rest_of(job(lightning={"devices": 2}))
    watched = {"gpu_info": shipped_defaults.block("callbacks", "gpu_info")["callbacks"]["gpu_info"]}
    done = rerun.rest_of(job(callbacks=watched)).done
    assert done is not None
    assert done.message.endswith("; callbacks.gpu_info: of its training, nothing is left.")


def test_an_unfinished_one_goes_on_elsewhere_and_says_so() -> None:
    left("stopped")
    assert rerun.rest_of(job()).told == ""
    rest = rerun.rest_of(job(lightning={"devices": 2}))
    assert rest.told == "The run one goes on: lightning.devices: auto then, 2 now"


def test_code_that_was_changed_since_is_told_and_not_signed() -> None:
    left()
    Path("mine.py").write_text("# better")
    for file in ("mine.py has been changed since",):
        done = rerun.rest_of(job()).done
        assert done is not None
        assert file in done.message
        assert file in rerun.rest_of(job(lightning={"max_epochs": 9})).told
        with pytest.raises(RequestError, match=file):
            rerun.rest_of(job(signature=shipped_defaults.block("signature", "ed25519")["signature"]))


def test_what_goes_wrong_afterwards_costs_a_finished_run_nothing() -> None:
    left()
    (signature := job().folder.path / "statement.json").touch()
    asked = job(validator=THRESHOLD)
    with rerun.reopened(asked, rerun.rest_of(asked)):
        assert not asked.folder.finished.exists()
        assert not signature.exists()
        write_json(asked.folder.run, {**read_json(asked.folder.run), "status": "failed", "message": "no"})
    record = read_json(asked.folder.run)
    assert (record["status"], record["metrics"], record["message"]) == ("finished", FIGURES, "")
    done = rerun.rest_of(job()).done
    assert done is not None
    assert done.message == "The run one is finished already."


def test_a_checkpoint_that_a_finished_run_did_not_begin_from_is_refused() -> None:
    then = left(resume=f"{Path('one.ckpt').resolve()}")
    record = read_json(then.folder.run)
    record["attempts"][0]["resumed_from"] = f"{Path('one.ckpt').resolve()}"
    write_json(then.folder.run, record)
    assert rerun.rest_of(job(resume="one.ckpt")).done is not None
    assert rerun.rest_of(job()).done is not None
    with pytest.raises(RequestError, match="resume: /.*one.ckpt then, other.ckpt now"):
        rerun.rest_of(job(resume="other.ckpt"))
