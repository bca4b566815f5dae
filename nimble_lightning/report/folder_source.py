"""What a page is made of: the files of a folder, as they are. Whatever is missing is simply not there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from nimble_lightning.notifications import events
from nimble_lightning.ops import plain_files, yaml_files
from nimble_lightning.ops.secrets import redact, redacted
from nimble_lightning.ops.untrusted_text import cut, printable
from nimble_lightning.report import quantities
from nimble_lightning.run_folder import (
    CONFIG,
    ERRORS,
    JOB,
    METRICS_CSV,
    METRICS_JSONL,
    PROVENANCE,
    RECORD,
    SHOW,
    SHOW_INDEX,
    USAGE,
)

T = TypeVar("T")

MEMBERS = f"*/{RECORD}"
METRICS = (METRICS_JSONL, METRICS_CSV)
# More would not fit a page; the newest count.
_MOST_EVENTS = 2000
_MOST_ERRORS = 20
# Nobody writes a configuration this long; a file that is longer is not one.
_MOST_BYTES = 4_000_000
_MOST_CONFIGURATION = 40_000
_CONFIGURATIONS = (JOB, CONFIG, "hparams.yaml")


class Doubts(list[str]):
    """What could not be shown of a folder, which may come from anybody: the rest of the page is there."""

    def unless(self, part: str, make: Callable[[], T], otherwise: Any) -> T:
        """What is made, or else a note that this part of the page could not be."""
        try:
            return make()
        except Exception:  # of whatever was written in the place of what a run writes
            if part not in self:
                self.append(part)
            return otherwise  # type: ignore[no-any-return]


class FolderSource:
    """One folder: a run's, or one of a Lightning project that logged something there."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()

    @cached_property
    def run(self) -> dict[str, Any]:
        """The content of run.json."""
        return _mapping(read_json(self.folder, RECORD))

    @property
    def attempts(self) -> list[Mapping[str, Any]]:
        """What run.json says of each start."""
        listed = self.run.get("attempts")
        return [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []

    @property
    def seconds(self) -> float | None:
        """What the attempts took: a run that is trained further a day later has not taken a day."""
        took = [quantities.between(attempt.get("start"), attempt.get("end")) for attempt in self.attempts]
        known = [seconds for seconds in took if seconds is not None]
        return sum(known) if known else quantities.between(self.run.get("started"), self.run.get("ended"))

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What was noted of code, data and machine where the run was to be signed."""
        return _mapping(read_json(self.folder, PROVENANCE))

    @cached_property
    def job(self) -> dict[str, Any]:
        """What was asked, references unresolved; the hyper-parameters Lightning wrote in other projects."""
        for name in _CONFIGURATIONS:
            if found := _mapping(read_yaml(self.folder, name)):
                return found
        return {}

    @cached_property
    def configuration(self) -> str:
        """What was asked, as it stands in its file."""
        for name in _CONFIGURATIONS:
            with suppress(OSError), plain_files.open_inside(self.folder, name) as file:
                return printable(redact(file.read(_MOST_CONFIGURATION).decode(errors="replace")))
        return ""

    @cached_property
    def usage(self) -> dict[str, Any]:
        """The content of usage.json."""
        return _mapping(read_json(self.folder, USAGE))

    @cached_property
    def events(self) -> list[events.Event]:
        """What happened, in that order."""
        newest = deque(events.read(self.folder), maxlen=_MOST_EVENTS)
        return [replace(event, facts=_shown(event.facts)) for event in newest]

    @cached_property
    def shown(self) -> list[dict[str, Any]]:
        """The index of what `predict_and_show` yielded."""
        found = read_json(self.folder, SHOW_INDEX)
        return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    @property
    def show(self) -> Path:
        return self.folder / SHOW

    @cached_property
    def errors(self) -> list[tuple[str, dict[str, Any]]]:
        """What ranks wrote down when they failed, with the file's name; oldest first."""
        paths = plain_files.found_inside(self.folder, self.folder / ERRORS, "attempt-*.json")
        names = [path.name for path in paths if path.parent.name == ERRORS]
        found = [(name, _mapping(read_json(self.folder, f"{ERRORS}/{name}"))) for name in names]
        whole = [(name, error) for name, error in found if error]
        return sorted(whole, key=lambda item: quantities.seconds(item[1].get("time")) or 0.0)[-_MOST_ERRORS:]

    @property
    def hardware(self) -> list[Path]:
        """The files of GPU samples, of all ranks."""
        found = self.folder.glob("gpu*.jsonl")
        return sorted(path for path in found if plain_files.is_inside(self.folder, path))

    @property
    def metrics(self) -> Path | None:
        """The file with the history of the metrics."""
        paths = (self.folder / name for name in METRICS)
        return next((path for path in paths if plain_files.is_inside(self.folder, path)), None)

    @property
    def name(self) -> str:
        return str(self.job.get("name") or self.run.get("run_id") or self.folder.name)


def read_json(folder: Path, name: str) -> Any:
    """A file's content without the secrets in it; None where there is none, or it is not whole."""
    try:
        return _shown(plain_files.read_json(folder, name))
    except RecursionError:
        return None


def read_yaml(folder: Path, name: str) -> Any:
    """A file's content without the secrets in it; None where there is none, or it is no YAML."""
    try:
        return _shown(yaml_files.load(plain_files.read(folder, name, _MOST_BYTES).decode()))
    except (OSError, ValueError):
        return None


def members_of(folder: Path) -> list[Path]:
    """The folders of a sweep's members; one that is elsewhere, behind a link, is none."""
    return [path.parent for path in sorted(folder.glob(MEMBERS)) if plain_files.is_inside(folder, path)]


def _shown(value: Any) -> Any:
    """Plain data without secrets, with texts of a length and of characters that people can read."""

    def clean(item: Any) -> Any:
        if isinstance(item, str):
            return cut(printable(item))
        if isinstance(item, dict):
            return {clean(key): clean(entry) for key, entry in item.items()}
        return [clean(entry) for entry in item] if isinstance(item, list) else item

    return clean(redacted(value))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
