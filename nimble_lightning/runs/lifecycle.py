"""The life of a run, whoever runs it: opened, tried until it ends, concluded; then what follows, in order."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from nimble_lightning.errors import NimbleError
from nimble_lightning.notifications import events
from nimble_lightning.notifications.events import ENDS, EventKind
from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.run_folder import make_private
from nimble_lightning.runs import device_count, notifier, result, resume, signature, slot
from nimble_lightning.runs.completion import exports, report_page, usage_account
from nimble_lightning.runs.finished_flag import FinishedFlag
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.lock import RunLock
from nimble_lightning.runs.lost_attempt import abandoned, wait_for_orphans
from nimble_lightning.runs.outcome import Outcome
from nimble_lightning.runs.record import Record
from nimble_lightning.runs.request import rerun, setting_blocks
from nimble_lightning.runs.result import Result
from nimble_lightning.validators import from_config
from nimble_lightning.validators.verdict import Verdict

# The verdict on a run whose workers have gone, instead of the one that they gave.
LateVerdict = Callable[[Job], Verdict]
Step = Callable[[Job], None]

_ENDED = {str(kind): kind for kind in ENDS}


def after_steps(ended: Result) -> Sequence[Step]:
    """What follows the end of a run, in this order. None of it changes what the run came to."""
    return (
        usage_account.complete,
        exports.finish,
        report_page.complete,
        # From here on nothing in the folder changes that a signature holds for.
        signature.complete,
        partial(tell_end, ended=ended),
        # Nobody has to wait for this to hear of the end.
        exports.push,
    )


class Lifecycle:
    """A run while it is open in its folder: what is put on record and told from its start to its end.

    Args:
        job: What was asked.
        late_verdict: Given once the workers have gone, where there is one.
        after: What follows its end.
    """

    def __init__(
        self,
        job: Job,
        late_verdict: LateVerdict | None = None,
        after: Callable[[Result], Sequence[Step]] = after_steps,
    ) -> None:
        self.job = job
        self.record = Record(job.folder, job.run_id)
        self._late_verdict = late_verdict
        self._after = after

    @property
    def committed(self) -> int:
        """The last step that a checkpoint holds."""
        names = (path.stem.removeprefix("step-") for path in self.job.folder.steps.glob("step-*.ckpt"))
        return max((int(name) for name in names if name.isdigit()), default=0)

    def tell(self, kind: EventKind, **facts: Any) -> None:
        """Add an event to the run's outbox."""
        tell(self.job, kind, attempt=len(self.record.attempts), **facts)

    def tell_start(self) -> None:
        """Tell that the run starts, or goes on."""
        self.tell(EventKind.STARTED, resumed=bool(self.record.attempts))

    def tell_retry(self, kind: EventKind, outcome: Outcome, **facts: Any) -> None:
        """Tell how an attempt ended that is not the last one."""
        named = {name: getattr(outcome, name) for name in ("cause", "reason", "rank", "step")}
        self.tell(kind, **named, **facts)

    def begin(self, *, first_of_command: bool = True, hosts: Sequence[str] = ()) -> tuple[int, str | None]:
        """Put a new attempt on record; returns its number, and the checkpoint it continues from.

        Args:
            first_of_command: Whether `resume=` decides where it starts.
            hosts: The machines it runs on, where they are several.
        """
        resume_from, step = resume.find(self.job, first_of_command=first_of_command)
        return self.record.begin(resume_from, step, hosts, self.job.code), resume_from

    def end(self, outcome: Outcome) -> None:
        """Put on record how the attempt ended."""
        self.record.end(outcome, self.committed if outcome.step is None else outcome.step)

    def conclude(self, outcome: Outcome, why_not: str = "") -> Result:
        """Nothing is tried any more: what the record, the exit code and people are told.

        Args:
            outcome: Of the last attempt.
            why_not: Why there is not another one.
        """
        if outcome.cause is Cause.FINISHED:
            return self._finished(outcome)
        if outcome.cause in (Cause.STOPPED, Cause.PREEMPTED):
            told = outcome.reason.startswith("stopped")
            return self.stop(outcome.reason if told else f"stopped: {outcome.reason}", ExitCode.TERMINATED)
        self.record.update(status="failed", message=outcome.reason, ended=time.time())
        refused = outcome.cause is Cause.CONFIG
        message = f"error: {outcome.reason}" if refused else f"failed: {outcome}"
        ended = self._result(message + (f" ({why_not})" if why_not else ""))
        ended.exit_code = ExitCode.REFUSED if refused else ExitCode.FAILED
        return ended

    def stop(self, reason: str, exit_code: int) -> Result:
        """It was asked to end."""
        self.record.update(status="stopped", message=reason, ended=time.time())
        ended = self._result(f"{reason}, committed up to step {self.committed}")
        ended.exit_code = exit_code
        return ended

    def finish(self, ended: Result) -> Result:
        """Do what follows the end, for which the run needs its devices no more."""
        slot.leave()
        for step in self._after(ended):
            step(self.job)
        return ended

    def _finished(self, outcome: Outcome) -> Result:
        job, flag = self.job, FinishedFlag.read(self.job.folder)
        if flag is None:
            raise NimbleError(f"{job.folder.finished} cannot be read, so nobody knows what the run came to.")
        self.record.finish(flag, self._late_verdict(job) if self._late_verdict else flag.verdict)
        ended = Result.finished(job.folder.path, self.record.content)
        if result.cut_short(job.folder):
            ended.message += f"; {result.NOT_SHOWN}" + (f" ({outcome.reason})" if outcome.reason else "")
            if self.committed:
                ended.message += f". To have it shown: the same command again, with run_id={job.run_id}"
            self.record.update(message=ended.message)
        return ended

    def _result(self, message: str) -> Result:
        return Result.of(self.job.folder.path, self.record.content, message)


def run(
    job: Job,
    work: Callable[[Lifecycle], Result],
    *,
    anywhere: bool = False,
    late_verdict: LateVerdict | None = None,
) -> Result:
    """Do what is left of a job in its folder. A finished run of which nothing more is asked says so.

    Args:
        job: What to do.
        work: Takes the run to its end.
        anywhere: It goes on in turn on several machines.
        late_verdict: Given once the workers have gone, where there is one.
    """
    from_config.check(job.settings)
    setting_blocks.check_packages(job.settings)
    device_count.require(job.settings.processes)
    job.folder.create()
    with RunLock(job.folder.lock, anywhere=anywhere):
        left = abandoned(job.folder)
        wait_for_orphans(job.folder)
        rest = rerun.rest_of(job)
        if rest.done is not None:
            return rest.done
        try:
            with signature.ready(job), rerun.reopened(job, rest) as again:
                if rest.told:
                    print(rest.told, flush=True)
                if not rest.needs_model:
                    record = read_json(job.folder.run)
                    return Lifecycle(again).finish(Result.of(job.folder.path, record, "finished"))
                slot.take()
                with notifier.telling(again):
                    life = Lifecycle(again, late_verdict)
                    life.record.end_abandoned(left)
                    return work(life)
        except FileNotFoundError as error:
            if job.folder.path.exists():
                raise
            raise NimbleError(
                f"The run folder {job.folder.path} was moved or removed while the run went on\n"
                "Where it is whole, the same command continues it: output_dir=, name= and run_id= say where"
            ) from error
        finally:
            make_private(job.folder.path)


def tell(job: Job, kind: EventKind, **facts: Any) -> None:
    """Add an event to the run's outbox. A run does not end because it could not be told about."""
    with contextlib.suppress(OSError):
        events.append(job.folder.path, kind, run=job.run_id, name=job.name, **facts)


def tell_end(job: Job, ended: Result) -> None:
    """Tell what a run came to and, where it is not over for good, how to go on."""
    last = ended.attempts[-1] if ended.attempts else {}
    over = ended.status == "finished" or ended.comes_back
    tell(
        job,
        EventKind.PREEMPTED if ended.comes_back else _ENDED[ended.status],
        attempt=len(ended.attempts),
        message=ended.message,
        exit_code=ended.exit_code,
        metrics=ended.metrics,
        verdict=ended.verdict,
        seconds=ended.seconds,
        command=None if over else notifier.resume_command(job),
        **{name: last.get(name) for name in ("cause", "reason", "rank")},
        step=last.get("last_step"),
    )
