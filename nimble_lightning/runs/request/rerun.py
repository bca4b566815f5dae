"""A run that is asked for again: refused, finished, trained further, or only judged, signed and the like."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nimble_lightning.checkpoint.retention import committed, delete
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.run_files import read_json, write_text
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs import resume
from nimble_lightning.runs.finished_flag import FinishedFlag
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.record import Record
from nimble_lightning.runs.request.setting_changes import Change, changes
from nimble_lightning.runs.result import NOT_SHOWN, Result, cut_short
from nimble_lightning.settings import target_of

# What is done later with a run that has ended, in the order in which it is done.
_DONE = {
    "validator": "judged",
    "export": "exported",
    "show": "shown",
    "callbacks.usage_report": "accounted for",
    "report": "put on its page",
    "signature": "signed",
    "callbacks.hub_push": "pushed",
}
# Of those, what takes no model.
_WITHOUT_MODEL = ("callbacks.usage_report", "report", "callbacks.hub_push")
# A run that ended before its time did so for one of these; only they let it go on.
_ENDS_EARLY = (
    "callbacks.early_stopping",
    "lightning.max_time",
    "lightning.min_epochs",
    "lightning.min_steps",
)
# Their rate at a step depends on how many steps there are going to be.
_AS_LONG_AS_THE_RUN = ("cosine", "linear", "onecycle", "wsd")
# They act while it trains, and no figure depends on them.
_WATCHING = ("callbacks.", "logger.")
_MOST_TOLD = 8


@dataclass(frozen=True)
class Rest:
    """What is left to do of a run.

    Attributes:
        done: What it came to, where nothing is left.
        told: What is done, and why, for people; empty where that goes without saying.
        trains: Whether steps may be left to train; otherwise only what comes after training is done.
        needs_model: Whether it takes workers.
        kept: Settings that are not asked for any more, and have been acted on.
    """

    done: Result | None = None
    told: str = ""
    trains: bool = True
    needs_model: bool = True
    kept: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Length:
    """Epochs and steps that a run has trained, or is to train at most."""

    epochs: float
    steps: float

    @classmethod
    def asked(cls, config: DictConfig) -> _Length:
        limits = (OmegaConf.select(config, f"lightning.{name}") for name in ("max_epochs", "max_steps"))
        return cls(*(math.inf if limit is None or limit < 0 else limit for limit in limits))

    @classmethod
    def trained(cls, folder: RunFolder) -> _Length:
        commits = committed(folder.steps)
        epochs, steps = (commits[-1][1].epoch, commits[-1][1].step) if commits else (0, 0)
        flag = FinishedFlag.read(folder)
        if flag is not None:
            epochs = epochs if flag.epochs is None else flag.epochs
            steps = steps if flag.global_step is None else flag.global_step
        return cls(epochs, steps)

    def exceeds(self, limit: _Length) -> bool:
        return self.epochs > limit.epochs or self.steps > limit.steps

    def reaches(self, limit: _Length) -> bool:
        return self.epochs >= limit.epochs or self.steps >= limit.steps


def done_before(job: Job) -> Result | None:
    """What a run came to that is finished, and of which nothing more is asked; None if something is left.

    Raises:
        RequestError: What is asked for is another run.
    """
    return rest_of(job).done


def rest_of(job: Job) -> Rest:
    """What is left to do of the run that a job asks for.

    Raises:
        RequestError: What is asked for is another run, or less than has been trained.
    """
    if not job.folder.job.exists():
        return Rest()
    record = read_json(job.folder.run)
    if not record.get("attempts"):
        # Nothing has come of it yet.
        return Rest()
    then = Job.load(job.folder.path).config
    found = changes(then, job.config, job.usual)
    _refuse(job, [change for change in found if change.kind == "another"], "has other settings")
    if job.settings.resume == "never":
        return Rest()
    lengths = [change for change in found if change.kind == "length"]
    trained = _Length.trained(job.folder)
    if lengths and trained.exceeds(_Length.asked(job.config)):
        _refuse(job, lengths, f"has trained {trained.steps} steps in {trained.epochs} epochs, which is more")
    onward = [change for change in found if change.kind == "onward"]
    if record.get("status") != "finished" or not job.folder.finished.exists():
        return Rest(told=_goes_on(job, record, [*lengths, *onward], "goes on"))
    if lengths and _trains_further(lengths, trained, then, job.config):
        how = f"is trained further, from step {trained.steps}"
        return Rest(told=_goes_on(job, record, [*lengths, *onward], how))
    if job.settings.resume != "auto" and not resume.begun_from(job):
        onward.append(Change("resume", then.get("resume"), job.config.resume))
    _refuse(job, onward, "is finished, and was trained with other settings")
    return _rest_of_finished(job, record, then, found, trained)


def _rest_of_finished(
    job: Job, record: Mapping[str, Any], then: DictConfig, found: Sequence[Change], trained: _Length
) -> Rest:
    """Of a run of which nothing is left to train."""
    later = [change for change in found if change.kind == "afterwards"]
    # Only a run with commits can be shown without being trained once more.
    unshown = cut_short(job.folder) and bool(committed(job.folder.steps))
    if not later and not unshown:
        ended_early = not trained.reaches(_Length.asked(then))
        parts = [f"The run {job.run_id} is finished already", *_unchanged(found, trained, ended_early)]
        parts += _code_changed(job, record)
        return Rest(Result.of(job.folder.path, record, f"{'; '.join(parts)}."))
    groups = [
        name for name in _DONE if any(change.is_in(name) for change in later) or (name == "show" and unshown)
    ]
    why = [*([_list(later)] if later else []), *([NOT_SHOWN] if unshown else [])]
    changed = _code_changed(job, record)
    if "signature" in groups:
        _refuse_to_sign(job, record, changed)
    # Provenance is noted where the model is; a run without commits would have to be trained for it once more.
    modelless = _WITHOUT_MODEL if committed(job.folder.steps) else (*_WITHOUT_MODEL, "signature")
    told = f"The run {job.run_id} is finished; now it is {_and([_DONE[name] for name in groups])}"
    told = f"{told} ({'; '.join(why)})"
    if job.folder.statement.exists() and not job.settings.signed:
        told += (
            "\nIts signature does not hold for that and is removed; to have it signed again: signature=..."
        )
    # A verdict stays, though nobody asks for it now.
    judged = not any(change.is_in("validator") for change in later)
    return Rest(
        told="\n".join([told, *changed]),
        trains=False,
        kept={"validator": then.validator} if judged and "validator" in then else {},
        needs_model=not set(groups) <= set(modelless),
    )


def reopen(job: Job) -> None:
    """Have the run go on as it is asked for now."""
    # What was signed is not what the folder is going to hold.
    for file in (job.folder.finished, job.folder.statement, job.folder.bundle):
        file.unlink(missing_ok=True)
    job.save()


@contextmanager
def reopened(job: Job, rest: Rest) -> Iterator[Job]:
    """The same until the block ends, for the job with what is kept of it.

    What is only done with a finished run does not cost it its end.
    """
    files = (job.folder.finished, job.folder.job)
    before = {} if rest.trains else {file: file.read_text(encoding="utf-8") for file in files}
    job = job.with_changes(rest.kept)
    if rest.trains and (flag := FinishedFlag.read(job.folder)) is not None and flag.mid_epoch:
        _forget_end(job.folder, flag)
    reopen(job)
    if not rest.needs_model:
        write_text(job.folder.finished, before[job.folder.finished])
    try:
        yield job
    finally:
        if before and not job.folder.finished.exists():
            for file, text in before.items():
                write_text(file, text)
            record = Record(job.folder, job.run_id)
            if (flag := FinishedFlag.read(job.folder)) is not None:
                record.finish(flag, flag.verdict)
            record.update(message="")


def _forget_end(folder: RunFolder, flag: FinishedFlag) -> None:
    """A training that ends within an epoch takes that epoch for over: it goes on from the commit before."""
    for path, manifest in committed(folder.steps)[-1:]:
        if manifest.step == flag.global_step:
            delete(path)


def _refuse_to_sign(job: Job, record: Mapping[str, Any], changed: Sequence[str]) -> None:
    """A signature says which code it was, and nothing else may be said than what is known."""
    known = job.code is None or "code" in record["attempts"][-1]
    if known and not changed:
        return
    why = changed[0] if changed else "an earlier version trained it, and did not note by which file"
    raise RequestError(
        f"The run {job.run_id} cannot be signed with its code: {why}\n"
        f"To sign what is in its folder: nimble-cli sign {job.folder.path} --key KEY.pem"
    )


def refuse(found: Sequence[Change], what: str, other: str) -> None:
    """Refuse what is asked for differently, if there is something.

    Args:
        found: The settings.
        what: What is wrong with them.
        other: What can be started instead, and how.
    """
    if found:
        lines = [f"  {change}" for change in found[:_MOST_TOLD]]
        if len(found) > _MOST_TOLD:
            lines.append(f"  and {len(found) - _MOST_TOLD} more")
        text = "\n".join([f"{what}:", *lines])
        raise RequestError(f"{text}\nAsk as before, or start {other}")


def _refuse(job: Job, found: Sequence[Change], what: str) -> None:
    other = "another sweep: sweep_id=NAME" if job.settings.sweep_id else "another run: run_id=NAME"
    refuse(found, f"The run {job.run_id} {what}", other)


def _trains_further(lengths: Sequence[Change], trained: _Length, then: DictConfig, now: DictConfig) -> bool:
    """Whether a run that had come to its end has not come to the one that is asked for now."""
    ended_early = not trained.reaches(_Length.asked(then))
    if ended_early and not any(change.is_in(name) for change in lengths for name in _ENDS_EARLY):
        return False
    return not trained.reaches(_Length.asked(now))


def _goes_on(job: Job, record: Mapping[str, Any], found: Sequence[Change], how: str) -> str:
    told = [f"The run {job.run_id} {how}: {_list(found)}"] if found else []
    schedule = job.settings.schedule or {}
    name = target_of(schedule).rpartition(".")[2]
    longer = any(change.key in ("lightning.max_epochs", "lightning.max_steps") for change in found)
    if longer and (name in _AS_LONG_AS_THE_RUN or 0 < (schedule.get("warmup") or 0) < 1):
        told.append(
            f"Its schedule ({name}) is laid anew over that length: this is not what a run that was asked for "
            "it from the beginning comes to"
        )
    return "\n".join([*told, *_code_changed(job, record)])


def _unchanged(found: Sequence[Change], trained: _Length, ended_early: bool) -> list[str]:
    """Why what is asked for differently changes nothing about a finished run."""
    lengths = [change.key for change in found if change.kind == "length"]
    watching = [c.key for c in found if c.kind == "unseen" and c.key.startswith(_WATCHING) and c.now]
    told = []
    if lengths and ended_early:
        told.append(
            f"it ended by itself after {trained.epochs} epochs, which {_and(lengths)} does not change"
        )
    elif lengths:
        told.append(f"it has come as far as {_and(lengths)}")
    if watching:
        told.append(f"{_and(watching)}: of its training, nothing is left")
    return told


def _code_changed(job: Job, record: Mapping[str, Any]) -> list[str]:
    """That the trainer's file is not the one of the last attempt any more, where that is so."""
    was, now = (record.get("attempts") or [{}])[-1].get("code"), job.code
    if was is None or now is None or was == now:
        return []
    file = Path(job.trainer.rpartition(":")[0]).name
    return [f"{file} has been changed since: what was trained so far is of the file as it was"]


def _list(found: Sequence[Change]) -> str:
    return "; ".join(map(str, found[:_MOST_TOLD]))


def _and(words: Sequence[str]) -> str:
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), *words[-1:]])
