"""One page from the folder alone: whole, harmless, the same every time."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import report_cases as cases
from hypothesis import given, settings
from hypothesis import strategies as st

from nimble_lightning.errors import RequestError
from nimble_lightning.report import build, build_sweep

HOSTILE = "\"><img src=x onerror=alert(1)></title></style></script><script>alert('&')</script>{{ 7*7 }}"


class Reader(HTMLParser):
    """The elements of a page and the words in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    def headings(self) -> list[str]:
        tags = [tag for tag, _ in self.elements]
        assert tags.count("h1") == 1
        return [word for word in self.words if word in SECTIONS]


SECTIONS = [
    "Verdict",
    "Error",
    "Curves",
    "Samples",
    "Time, energy and cost",
    "Hardware over time",
    "Attempts",
    "Configuration",
    "Environment",
    "Next steps",
]


def page(folder: Path) -> Reader:
    return Reader(build(folder).read_text())


def test_a_run_has_its_figures_curves_settings_and_commands() -> None:
    found = page(cases.run(Path("digits/first")))
    assert found.headings() == ["Curves", "Configuration", "Environment", "Next steps"]
    assert {"digits", "finished", "first", "0.97", "0.125", "40", "1 min 30 s", "3.11.7"} <= set(found.words)
    assert "sgd" in found.words
    resume = "python -m nimble_lightning trainer=/home/me/digits.py:Digits params.lr=0.001 optim=sgd"
    assert any(word.startswith(resume) and word.endswith("run_id=first") for word in found.words)


def test_a_run_that_is_trained_further_a_day_later_has_not_taken_a_day() -> None:
    began = cases.BEGAN
    parts = [{"start": began, "end": began + 60}, {"start": began + 90_000, "end": began + 90_030}]
    found = page(cases.run(Path("digits/first"), attempts=parts, ended=began + 90_030))
    assert "1 min 30 s" in found.words


def test_everything_else_is_there_when_its_source_is() -> None:
    folder = cases.retried(Path("digits/first"))
    cases.write(folder / "show" / "index.json", [{"caption": "read as 7", "file": "1.txt", "kind": "text"}])
    cases.write(folder / "show" / "1.txt", "a seven")
    found = page(folder)
    assert found.headings() == [name for name in SECTIONS if name not in ("Verdict", "Error")]
    assert {"a seven", "read as 7", "killed by SIGKILL", "0.5 kWh", "0.5 EUR", "measured"} <= set(found.words)
    assert "attempt 2 goes on from step 20: killed by SIGKILL" in found.words
    assert "rollback at step 30: a spike" in found.words


def test_a_failed_run_says_so_first_and_shows_the_traceback() -> None:
    folder = cases.retried(Path("digits/first"))
    cases.run(folder, status="failed", message="ValueError: no")
    found = page(folder)
    assert found.headings()[0] == "Error"
    assert {"failed", "ValueError: no", "Traceback"} <= set(found.words)


@pytest.mark.parametrize(("passed", "shown"), [(True, True), (False, True), (None, False)])
def test_a_verdict_is_shown_when_one_was_asked_for(passed: bool | None, shown: bool) -> None:
    criteria = [{"text": "accuracy >= 0.9", "passed": passed, "value": 0.97}]
    summary = "as hoped" if shown else "none asked"
    verdict = {"passed": passed, "summary": summary, "criteria": criteria, "validator": "NoValidator"}
    found = page(cases.run(Path("digits/first"), verdict=verdict))
    assert ("Verdict" in found.headings()) == shown
    assert (summary in found.words) == shown


def test_the_same_folder_gives_the_same_page() -> None:
    folder = cases.retried(Path("digits/first"))
    first = build(folder).read_bytes()
    copy = Path("elsewhere/digits/first")
    shutil.copytree(folder, copy)
    assert build(folder).read_bytes() == first == build(copy).read_bytes()


def test_a_running_page_looks_for_a_newer_one_and_a_finished_one_does_not() -> None:
    folder = cases.run(Path("digits/first"))
    assert 'http-equiv="refresh"' not in build(folder).read_text()
    cases.run(folder, status="running", ended=None)
    assert 'http-equiv="refresh"' in build(folder).read_text()


def hostile(folder: Path) -> Path:
    attempt = {"number": HOSTILE, "start": HOSTILE, "cause": HOSTILE, "reason": HOSTILE, "first_step": 3}
    verdict = {"passed": False, "summary": HOSTILE, "criteria": [{"text": HOSTILE, "value": HOSTILE}]}
    cases.run(folder, status=HOSTILE, message=HOSTILE, attempts=[attempt] * 2, verdict=verdict)
    cases.run(folder, run_id=HOSTILE, versions={HOSTILE: HOSTILE}, metrics={HOSTILE: 1.0}, started=HOSTILE)
    shown: list[dict[str, Any]] = [{"caption": HOSTILE, "error": HOSTILE, "line": HOSTILE}]
    for number, kind in enumerate(["text", "table", "image", "audio", "video", "file", HOSTILE]):
        cases.write(folder / "show" / f"{number}.json", [{HOSTILE: HOSTILE}])
        shown.append({"caption": HOSTILE, "file": f"{number}.json", "kind": kind})
    cases.write(folder / "show" / "index.json", shown)
    cases.write(folder / "job.yaml", f"trainer: x\nparams:\n  a: {HOSTILE!r}\nname: {HOSTILE!r}\n")
    cases.rows(folder / "metrics.jsonl", *(cases.row(step, **{HOSTILE: 1.0 / step}) for step in range(1, 9)))
    cases.write(
        folder / "errors" / "attempt-1.rank-0.json", dict.fromkeys(("type", "message", "traceback"), HOSTILE)
    )
    figure = {"value": 1.0, "kind": HOSTILE, "note": HOSTILE}
    usage = {"mfu": figure, "cost": {"amount": figure, "currency": HOSTILE}, "time": {HOSTILE: 1.0}}
    cases.write(folder / "usage.json", usage)
    device = {"index": HOSTILE, "uuid": HOSTILE, "utilization": 5.0}
    cases.rows(folder / "gpu.jsonl", {"time": 5.0, "devices": [device]})
    cases.write(folder / "provenance.json", {"code": {HOSTILE: HOSTILE}})
    return folder


def test_nothing_in_the_folder_becomes_part_of_the_page() -> None:
    found = page(hostile(Path("sweep/0")))
    swept = Reader(build_sweep(Path("sweep")).read_text())
    for reader, scripts in ((found, 0), (swept, 1)):
        tags = [tag for tag, _ in reader.elements]
        assert tags.count("script") == scripts
        assert tags.count("style") == tags.count("main") == 1
        for tag, attributes in reader.elements:
            assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
            for name in ("src", "href"):
                value = attributes.get(name)
                assert value is None or re.match(r"(data:|show/|0/)", value), value
    assert any("onerror=alert" in word for word in found.words), "it is all there, as words"
    assert not any(word == "49" for word in found.words)


def test_values_of_other_kinds_than_expected_are_no_reason_to_fail() -> None:
    folder = Path("digits/first")
    cases.run(folder, metrics=[], attempts="none", versions=3, verdict="fine", started=None)
    for name in ("usage.json", "show/index.json", "gpu.jsonl", "job.yaml", "outbox/events.jsonl"):
        for content in ("[1, 2]", '{"a": {}}', "nonsense", "", "\x00\xff", "- ${oops"):
            cases.write(folder / name, content)
            assert page(folder).elements


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
RECORD = st.fixed_dictionaries(
    {},
    optional={
        name: JSON
        for name in ("run_id", "status", "metrics", "started", "ended", "message", "versions", "verdict")
    }
    | {"attempts": st.lists(st.dictionaries(st.sampled_from(["start", "end", "first_step", "cause"]), JSON))},
)
ACCOUNT = st.dictionaries(st.sampled_from(["time", "energy_kwh", "cost", "mfu", "steps", "to_go"]), JSON)
ASKED = st.dictionaries(
    st.sampled_from(["trainer", "params", "callbacks", "logger", "optim", "lightning"]), JSON
)


@settings(max_examples=30, deadline=None)
@given(RECORD, ACCOUNT, ASKED)
def test_a_page_comes_of_any_record(record: Any, account: Any, asked: Any) -> None:
    folder = Path("digits/first")
    cases.run(folder)
    for name, content in (("run.json", record), ("usage.json", account), ("job.yaml", asked)):
        cases.write(folder / name, content)
    assert page(folder).elements


def test_secrets_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_TOKEN", "canary-4711-canary")
    folder = cases.run(Path("digits/first"), message="no: canary-4711-canary")
    cases.write(folder / "job.yaml", "trainer: x\nparams:\n  token: canary-4711-canary\n")
    error = {
        "type": "E",
        "message": "canary-4711-canary",
        "traceback": "https://me:canary-4711-canary@host/x",
    }
    cases.write(folder / "errors" / "attempt-1.rank-0.json", error)
    assert "canary-4711" not in build(folder).read_text()


def test_a_folder_of_another_project_has_what_it_has() -> None:
    folder = Path("lightning_logs/version_0")
    cases.write(folder / "metrics.csv", "epoch,step,train_loss\n0,9,0.5\n1,19,0.25\n")
    cases.write(folder / "hparams.yaml", "lr: 0.1\n")
    found = page(folder)
    assert found.headings() == ["Curves", "Configuration"]
    assert {"version_0", "train_loss", "lr: 0.1"} <= set(found.words)


def sweep(folder: Path) -> Path:
    for number, (rate, accuracy) in enumerate([(0.1, 0.5), (0.01, 0.9), (0.001, None)]):
        metrics = {"accuracy": accuracy} if accuracy else {}
        status = "finished" if accuracy else "failed"
        member = cases.run(
            folder / str(number), metrics=metrics, status=status, message="" if accuracy else "oh"
        )
        cases.write(member / "job.yaml", cases.JOB.replace("lr: 0.001", f"lr: {rate}"))
        build(member)
    return folder


def test_a_sweep_is_sorted_by_what_its_members_reached() -> None:
    found = Reader(build_sweep(sweep(Path("sweep"))).read_text())
    links = [attributes["href"] for tag, attributes in found.elements if tag == "a"]
    assert links == ["1/report.html", "0/report.html", "2/report.html"]
    assert {"failed", "oh"} <= set(found.words)
    words = [word for word in found.words if word]
    headline = words.index("best accuracy")
    assert words[headline : headline + 6] == [
        "best accuracy",
        "0.9",
        "member 1",
        "lr",
        "0.01",
        "in the best run",
    ]
    dots = [str(attributes.get("class")) for _, attributes in found.elements]
    assert [dot for dot in dots if dot.startswith("member ")] == ["member q0", "member q4"]


@pytest.mark.parametrize(("way", "best"), [("minimize", "0"), ("maximize", "1")])
def test_a_sweep_is_judged_as_it_was_summed_up(way: str, best: str) -> None:
    folder = sweep(Path("sweep"))
    cases.write(folder / "sweep.json", {"objectives": {"accuracy": way}, "reason": "as asked"})
    found = Reader(build_sweep(folder).read_text())
    assert f"member {best}" in found.words


def test_where_no_way_is_known_to_be_better_members_are_drawn_and_none_is_best() -> None:
    folder = sweep(Path("sweep"))
    for file in folder.glob("*/run.json"):
        file.write_text(file.read_text().replace("accuracy", "gap"))
    html = build_sweep(folder).read_text()
    found = Reader(html)
    dots = [str(attributes.get("class")) for _, attributes in found.elements]
    assert [dot for dot in dots if dot.startswith("member ")] == ["member q0", "member q0"]
    assert "best gap" not in found.words
    assert not {"best fifth", "in the best run"} & set(found.words)


def test_a_smaller_loss_is_better() -> None:
    folder = Path("sweep")
    for number, loss in enumerate([0.5, 0.25, float("nan")]):
        cases.run(folder / str(number), metrics={"val_loss": loss})
        build(folder / str(number))
    links = [a["href"] for tag, a in Reader(build_sweep(folder).read_text()).elements if tag == "a"]
    assert links == ["1/report.html", "0/report.html", "2/report.html"]


def test_a_folder_without_members_is_no_sweep() -> None:
    with pytest.raises(RequestError, match="holds no runs"):
        build_sweep(Path.cwd())
