"""Messages say what a person wants to know, and the user may say it otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.notifications.delivery_plan import Batch, Numbered
from nimble_lightning.notifications.events import Event, EventKind
from nimble_lightning.notifications.message_writer import Message, MessageWriter
from nimble_lightning.ops import secrets


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    run = tmp_path / "digits" / "night"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"run_id": "night", "started": 1000.0}))
    (run / "log.txt").write_text("one\ntwo\nthree\n")
    energy = {"total": {"value": 0.0123, "kind": "measured"}}
    cost = {"amount": {"value": 1.2, "kind": "assumed"}, "currency": "EUR"}
    (run / "usage.json").write_text(json.dumps({"energy_kwh": energy, "cost": cost}))
    yield run
    secrets.forget()


def write(
    folder: Path, kind: str, markdown: bool = False, writer: MessageWriter | None = None, **facts: Any
) -> Message:
    batch = Batch(kind, (Numbered(3, Event(kind, facts, time=1060.0)),))
    return (writer or MessageWriter()).write(folder, batch, markdown=markdown)


def test_a_failure_says_where_why_and_how_to_go_on(folder: Path) -> None:
    facts = {"cause": "oom", "rank": 1, "step": 120, "message": "failed: out of memory"}
    message = write(folder, "failed", **facts, command="nimble-cli train x.py run_id=night")
    assert message.title == "digits failed at step 120"
    for part in (
        "out of memory",
        "oom, rank 1",
        "two\nthree",
        "To resume: nimble-cli train x.py",
        "night #3",
    ):
        assert part in message.body
    assert message.is_good is False


def test_a_milestone_says_how_far_how_well_how_long_and_for_how_much(folder: Path) -> None:
    facts = {"metrics": {"val_loss": 0.25}, "best": 0.125, "step": 50, "total_steps": 200, "eta_seconds": 90}
    message = write(folder, "milestone", **facts, milestone="25 %")
    assert message.title == "digits: 25 %, val_loss 0.25"
    for part in ("0.25 (best 0.125)", "50 of 200 (25%)", "time left: 1:30", "time: 1:00"):
        assert part in message.body
    assert "0.0123 kWh, 1.20 EUR" in message.body


def test_what_the_event_does_not_say_comes_from_the_folder(folder: Path) -> None:
    lines = [{"step": n, "metrics": {"accuracy": n / 10}} for n in range(5)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "accuracy: 0.4" in write(folder, "alarm", message="the GPU is hot").body


@pytest.mark.parametrize("kind", EventKind)
@pytest.mark.parametrize("markdown", [True, False])
def test_every_kind_has_words_even_in_an_empty_folder(tmp_path: Path, kind: str, markdown: bool) -> None:
    message = write(tmp_path / "a" / "b", kind, markdown)
    assert message.title.startswith("a")
    assert "#3" in message.body
    assert "None" not in message.title + message.body


def test_many_events_become_one_message_that_numbers_them_all(folder: Path) -> None:
    events = [Numbered(n, Event("best", {"step": n, "metrics": {"val_loss": 1 / n}})) for n in range(1, 101)]
    message = MessageWriter().write(folder, Batch("best", tuple(events)), markdown=False)
    assert message.title == "digits: 100 x best"
    assert "88 more before these" in message.body
    assert "#100 step 100 val_loss 0.01" in message.body
    assert "#1-#100" in message.body


def test_no_secret_gets_into_a_message(folder: Path) -> None:
    secrets.learn(["Kj3ksWq0"])
    (folder / "log.txt").write_text("token Kj3ksWq0\n")
    message = write(folder, "failed", message="Kj3ksWq0 refused", command="x Kj3ksWq0", name="Kj3ksWq0")
    assert "Kj3ksWq0" not in message.title + message.body


def test_a_log_cannot_break_out_of_its_block(folder: Path) -> None:
    (folder / "log.txt").write_text("```\n# hello\n")
    assert write(folder, "failed", True).body.count("```") == 2


def test_templates_of_the_user_take_the_place_of_ours_one_by_one(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "failed.txt.j2").write_text("{{ name }} fell over\n{{ reason }}")
    writer = MessageWriter(own)
    assert write(folder, "failed", writer=writer, message="why").body == "digits fell over\nwhy"
    assert write(folder, "failed", writer=writer).title == "digits failed"
    assert "host" in write(folder, "best", writer=writer).body


def test_a_template_that_fails_costs_only_itself(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "message.txt.j2").write_text("{{ nothing.at.all }}")
    assert "host" in write(folder, "best", writer=MessageWriter(tmp_path)).body


def test_templates_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no template"):
        MessageWriter(tmp_path)
    (tmp_path / "title.j2").write_text("one\n{% if %}")
    with pytest.raises(RequestError, match=r"title.j2, line 2"):
        MessageWriter(tmp_path)
