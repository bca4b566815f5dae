"""Events survive whatever befalls who writes them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nimble_lightning.notifications import events


def test_events_are_read_in_the_order_they_were_written(tmp_path: Path) -> None:
    written = [events.append(tmp_path, "milestone", step=step) for step in range(3)]
    assert list(events.read(tmp_path)) == written


def test_a_folder_without_events_has_none(tmp_path: Path) -> None:
    assert list(events.read(tmp_path)) == []


def test_a_line_cut_short_costs_only_itself(tmp_path: Path) -> None:
    first = events.append(tmp_path, "started")
    with open(tmp_path / "outbox" / "events.jsonl", "a") as file:
        file.write('{"kind": "mile')
    last = events.append(tmp_path, "finished")
    assert list(events.read(tmp_path)) == [first, last]


def test_many_writers_do_not_mix_their_lines(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda n: events.append(tmp_path, "alarm", text="x" * 500, n=n), range(200)))
    assert {event.id for event in events.read(tmp_path)} == {event.id for event in written}


def test_only_the_owner_can_read_them(tmp_path: Path) -> None:
    events.append(tmp_path, "started")
    assert (tmp_path / "outbox").stat().st_mode & 0o077 == 0
    assert (tmp_path / "outbox" / "events.jsonl").stat().st_mode & 0o077 == 0
