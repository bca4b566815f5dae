"""What a page is made of: the files of a folder, as they are. Whatever is missing is simply not there."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nimble_lightning.ops import events
from nimble_lightning.ops.secrets import redact, redacted
from nimble_lightning.report import yamls

RECORD = "run.json"
SUMMARY = "sweep.json"
PAGE = "report.html"
MEMBERS = f"*/{RECORD}"
METRICS = ("metrics.jsonl", "metrics.csv")
# More would not fit a page; the newest count.
_MOST_EVENTS = 2000
_MOST_ERRORS = 20
# Nobody writes a configuration this long; a file that is longer is not one.
_MOST_BYTES = 4_000_000
_MOST_CHARACTERS = 40_000
_CONFIGURATIONS = ("job.yaml", "config.yaml", "hparams.yaml")


class Source:
    """One folder: a run's, or one of a Lightning project that logged something there."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()

    @cached_property
    def run(self) -> dict[str, Any]:
        """run.json"""
        return _mapping(read_json(self.folder / RECORD))

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What was noted of code, data and machine where the run was to be signed."""
        return _mapping(read_json(self.folder / "provenance.json"))

    @cached_property
    def job(self) -> dict[str, Any]:
        """What was asked, references unresolved; the hyper-parameters Lightning wrote in other projects."""
        for name in _CONFIGURATIONS:
            if found := _mapping(read_yaml(self.folder / name)):
                return found
        return {}

    @cached_property
    def configuration(self) -> str:
        """What was asked, as it stands in its file."""
        for name in _CONFIGURATIONS:
            if (path := self.folder / name).is_file():
                with path.open(encoding="utf-8", errors="replace") as file:
                    return redact(file.read(_MOST_CHARACTERS))
        return ""

    @cached_property
    def usage(self) -> dict[str, Any]:
        """usage.json"""
        return _mapping(read_json(self.folder / "usage.json"))

    @cached_property
    def events(self) -> list[events.Event]:
        """What happened, in that order."""
        newest = deque(events.read(self.folder), maxlen=_MOST_EVENTS)
        return [replace(event, facts=redacted(event.facts)) for event in newest]

    @cached_property
    def shown(self) -> list[dict[str, Any]]:
        """The index of what `predict_and_show` yielded."""
        found = read_json(self.show / "index.json")
        return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    @property
    def show(self) -> Path:
        return self.folder / "show"

    @cached_property
    def errors(self) -> list[tuple[str, dict[str, Any]]]:
        """What ranks wrote down when they failed, with the file's name; oldest first."""
        paths = sorted((self.folder / "errors").glob("attempt-*.json"))
        found = [(path.name, _mapping(read_json(path))) for path in paths]
        whole = [(name, error) for name, error in found if error]
        return sorted(whole, key=lambda item: float(item[1].get("time") or 0.0))[-_MOST_ERRORS:]

    @property
    def hardware(self) -> list[Path]:
        """The files of GPU samples, of all ranks."""
        return sorted(self.folder.glob("gpu*.jsonl"))

    @property
    def metrics(self) -> Path | None:
        """The file with the history of the metrics."""
        return next((path for name in METRICS if (path := self.folder / name).exists()), None)

    @property
    def name(self) -> str:
        return str(self.job.get("name") or self.run.get("run_id") or self.folder.name)


def read_json(path: Path) -> Any:
    """A file's content without the secrets in it; None where there is none, or it is not whole."""
    try:
        return redacted(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return None


def read_yaml(path: Path) -> Any:
    """A file's content without the secrets in it; None where there is none, or it is no YAML."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        return redacted(yamls.load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
