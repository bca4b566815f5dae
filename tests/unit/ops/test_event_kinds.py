"""A kind of event is its name in files and settings, and one table has all that is known of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nimble_lightning.notifications import events
from nimble_lightning.notifications.events import ENDS, EventKind
from nimble_lightning.run_folder import EVENTS


def test_a_kind_is_written_as_its_name_and_found_again_by_it(tmp_path: Path) -> None:
    for kind in EventKind:
        events.append(tmp_path, kind)
    lines = (tmp_path / EVENTS).read_text().split("\n")
    assert [json.loads(line)["kind"] for line in lines if line] == [kind.value for kind in EventKind]
    assert [EventKind.named(event.kind) for event in events.read(tmp_path)] == list(EventKind)


def test_a_kind_of_another_version_is_nobodys() -> None:
    assert EventKind.named("exploded") is None


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_has_words_and_a_mark_has_a_colour(kind: EventKind) -> None:
    assert kind.words
    assert bool(kind.mark) == (kind.tone in ("warn", "bad"))


def test_a_run_ends_well_badly_or_because_it_was_asked_to() -> None:
    assert [kind.is_good for kind in ENDS] == [True, False, None]
