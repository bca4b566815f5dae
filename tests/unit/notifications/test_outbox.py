"""What is still to be delivered survives every kind of end."""

from __future__ import annotations

from pathlib import Path

from nimble_lightning.notifications import events, outbox
from nimble_lightning.notifications.delivery_plan import Batch, Numbered


def batch(*told: events.Event) -> Batch:
    return Batch("best", tuple(Numbered(n, event) for n, event in enumerate(told, start=1)))


def test_each_event_is_read_once_and_numbered_in_order(tmp_path: Path) -> None:
    tail = outbox.Tail(tmp_path)
    assert tail.read() == []
    first = events.append(tmp_path, "started")
    assert tail.read() == [Numbered(1, first)]
    assert tail.read() == []
    second = events.append(tmp_path, "finished")
    assert tail.read() == [Numbered(2, second)]
    assert [each.number for each in outbox.Tail(tmp_path).read()] == [1, 2]


def test_a_line_that_is_still_being_written_is_left_for_later(tmp_path: Path) -> None:
    events.append(tmp_path, "started")
    path = tmp_path / "outbox" / "events.jsonl"
    tail = outbox.Tail(tmp_path)
    tail.read()
    line = path.read_text().strip().replace("started", "best")
    with open(path, "a") as file:
        file.write(line[:20])
    assert tail.read() == []
    with open(path, "a") as file:
        file.write(line[20:] + "\n")
    assert [each.event.kind for each in tail.read()] == ["best"]


def test_what_was_delivered_is_known_after_a_restart(tmp_path: Path) -> None:
    told, left = events.append(tmp_path, "best"), events.append(tmp_path, "best")
    outbox.Delivered(tmp_path).join(["a"])
    outbox.record(tmp_path, "a", batch(told))
    again = outbox.Delivered(tmp_path)
    again.join(["a"])
    assert again.has("a", told)
    assert not again.has("a", left)
    assert [(target, kind) for target, kind, _ in again.messages] == [("a", "best")]


def test_a_record_cut_short_by_a_kill_costs_only_itself(tmp_path: Path) -> None:
    first, second = events.append(tmp_path, "best"), events.append(tmp_path, "best")
    outbox.record(tmp_path, "a", batch(first))
    with open(tmp_path / "outbox" / "delivered.jsonl", "a") as file:
        file.write('{"target": "a", "ids": ["')
    outbox.record(tmp_path, "a", batch(second))
    known = outbox.Delivered(tmp_path)
    assert known.has("a", first)
    assert known.has("a", second)


def test_an_address_with_a_new_token_takes_over_what_nobody_was_told(tmp_path: Path) -> None:
    told, left = events.append(tmp_path, "best"), events.append(tmp_path, "failed")
    outbox.Delivered(tmp_path).join(["old"])
    outbox.record(tmp_path, "old", batch(told))
    for _ in range(2):
        later = outbox.Delivered(tmp_path)
        later.join(["new"])
        assert later.has("new", told)
        assert not later.has("new", left)


def test_addresses_of_the_same_start_are_all_told_everything(tmp_path: Path) -> None:
    event = events.append(tmp_path, "best")
    known = outbox.Delivered(tmp_path)
    known.join(["a", "b"])
    outbox.record(tmp_path, "a", batch(event))
    assert not outbox.Delivered(tmp_path).has("b", event)
