"""What is put on record and told from the start of a run to its end, whoever runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from nimble_lightning.errors import RequestError
from nimble_lightning.notifications import events
from nimble_lightning.notifications.events import EventKind
from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.runs import lifecycle, signature
from nimble_lightning.runs.completion import exports, report_page, usage_account
from nimble_lightning.runs.finished_flag import FinishedFlag
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.lifecycle import Lifecycle, after_steps
from nimble_lightning.runs.outcome import Outcome
from nimble_lightning.runs.result import Result
from nimble_lightning.validators import Verdict

FLAG = FinishedFlag({"global_step": 4, "accuracy": 0.5}, verdict=Verdict(True, "good enough"))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    config = OmegaConf.create({"run_id": "some", "report": False, "validator": {}})
    job = Job.from_config(config, trainer="m:T", folder=tmp_path / "run")
    job.folder.create()
    return job


@pytest.fixture
def life(job: Job) -> Lifecycle:
    life = Lifecycle(job)
    life.begin()
    return life


def record(job: Job) -> dict[str, Any]:
    return dict(json.loads(job.folder.run.read_text()))


def told(job: Job) -> list[str]:
    return [event.kind for event in events.read(job.folder.path)]


def commit(job: Job, step: int) -> None:
    (job.folder.steps / f"step-{step:08}.ckpt").touch()


def test_an_attempt_ends_at_its_last_step_or_at_the_last_commit(job: Job, life: Lifecycle) -> None:
    commit(job, 3)
    life.end(Outcome(Cause.KILLED, step=5))
    assert record(job)["attempts"][-1]["last_step"] == 5
    life.end(Outcome(Cause.KILLED))
    assert record(job)["attempts"][-1]["last_step"] == 3


@pytest.mark.parametrize(
    ("outcome", "why_not", "status", "code", "message"),
    [
        (
            Outcome(Cause.DETERMINISTIC, "ValueError: no", 1, 7),
            "the same again",
            "failed",
            1,
            "failed: rank 1 at step 7: ValueError: no (the same again)",
        ),
        (Outcome(Cause.CONFIG, "lr=-1: expected more"), "", "failed", 2, "error: lr=-1: expected more"),
        (
            Outcome(Cause.PREEMPTED, "SIGTERM from outside"),
            "",
            "stopped",
            143,
            "stopped: SIGTERM from outside, committed up to step 3",
        ),
    ],
)
def test_a_run_that_did_not_finish_says_why_and_how_far_it_came(
    job: Job, life: Lifecycle, outcome: Outcome, why_not: str, status: str, code: int, message: str
) -> None:
    commit(job, 3)
    ended = life.conclude(outcome, why_not)
    assert (ended.status, ended.exit_code, ended.message) == (status, code, message)
    assert record(job)["status"] == status


def test_the_verdict_is_the_workers_unless_there_is_a_later_one(job: Job, life: Lifecycle) -> None:
    FLAG.write(job.folder)
    life.end(Outcome(Cause.FINISHED))
    assert life.conclude(Outcome(Cause.FINISHED)).exit_code == 0
    later = Verdict(False, "other bits", validator="Replay")
    ended = Lifecycle(job, late_verdict=lambda job: later).conclude(Outcome(Cause.FINISHED))
    assert (ended.exit_code, ended.message) == (3, "finished, not passed: other bits")
    assert record(job)["verdict"] == later.to_json()


def test_what_follows_the_end_is_done_once_in_order_with_the_job(job: Job) -> None:
    done: list[tuple[str, str]] = []

    def after(ended: Result) -> list[Callable[[Job], None]]:
        return [lambda job, name=name: done.append((name, job.run_id)) for name in ("first", ended.message)]  # type: ignore[misc]

    ended = Result("failed", {}, job.folder.path, message="second")
    assert Lifecycle(job, after=after).finish(ended) is ended
    assert done == [("first", "some"), ("second", "some")]


def test_all_is_signed_that_is_made_and_the_end_told_before_anything_is_pushed(job: Job) -> None:
    *made, sign, tell_end, push = after_steps(Result("finished", {}, job.folder.path))
    assert made == [usage_account.complete, exports.finish, report_page.complete]
    assert sign is signature.complete
    assert push is exports.push
    tell_end(job)
    assert told(job) == ["finished"]


def test_the_run_is_open_while_the_work_is_done_and_for_nobody_else(job: Job) -> None:
    ended = Result("stopped", {}, job.folder.path)

    def work(life: Lifecycle) -> Result:
        assert life.job.folder.job.exists()
        with pytest.raises(RequestError, match="already going on"):
            lifecycle.run(job, work)
        life.tell_start()
        return ended

    assert lifecycle.run(job, work) is ended
    assert told(job) == ["started"]


def test_an_attempt_that_nobody_put_on_record_is_there_before_the_next(job: Job) -> None:
    Lifecycle(job).begin()
    ended = lifecycle.run(job, partial(_again, job))
    assert ended.status == "failed"
    assert [attempt["cause"] for attempt in record(job)["attempts"]] == ["killed", "nan"]


def _again(job: Job, life: Lifecycle) -> Result:
    assert record(job)["attempts"][0]["reason"] == "the workers ended without a word"
    assert life.begin() == (2, None)
    life.end(Outcome(Cause.NAN, "the loss"))
    return life.conclude(Outcome(Cause.NAN, "the loss"))


def test_a_finished_run_says_so_and_no_work_is_done(job: Job) -> None:
    def finish(life: Lifecycle) -> Result:
        life.begin()
        FLAG.write(job.folder)
        life.end(Outcome(Cause.FINISHED))
        return life.conclude(Outcome(Cause.FINISHED))

    lifecycle.run(job, finish)
    again = lifecycle.run(job, lambda life: pytest.fail("there is nothing to do"))
    assert again.message.startswith("The run some is finished already")


def test_what_is_told_of_a_retry_says_how_the_attempt_before_it_ended(job: Job, life: Lifecycle) -> None:
    life.tell_retry(EventKind.RETRYING, Outcome(Cause.KILLED, "killed by SIGKILL", 1, 7), wait=0.5)
    [event] = events.read(job.folder.path)
    known = {
        "attempt": 1,
        "cause": "killed",
        "reason": "killed by SIGKILL",
        "rank": 1,
        "step": 7,
        "wait": 0.5,
    }
    assert (event.kind, event.facts | known) == ("retrying", event.facts)
