"""The pages in a real browser: everything loads, nothing runs, nothing sticks out."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nimble_lightning.notifications import png
from nimble_lightning.report import build, build_sweep

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="drives the browser")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here")

OWN = "document.title='owned'"
HOSTILE = f'"><img src=x onerror="{OWN}"></title></style></script><script>{OWN}</script>'
LONG = "a_name_without_end_" * 20
WIDTHS = (400, 1600)
# 160 x 120, one frame: the smallest file that every Chromium plays.
WEBM = ("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=1:duration=1")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "0"
    write(folder / "run.json", RECORD)
    write(folder / "job.yaml", JOB)
    write(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in history()))
    write(folder / "gpu.jsonl", "".join(json.dumps(sample) + "\n" for sample in samples()))
    write(folder / "usage.json", USAGE)
    write(folder / "errors" / "attempt-1.rank-0.json", {"type": "E", "message": HOSTILE, "traceback": LONG})
    show(folder / "show")
    build(folder)
    shutil.copytree(folder, folder.parent / "1")
    write(
        folder.parent / "1" / "job.yaml", JOB.replace("lr: 0.001", "lr: 0.01").replace("width: 8", "width: 9")
    )
    build_sweep(folder.parent)
    return folder / "report.html"


RECORD = {
    "run_id": HOSTILE,
    "status": "failed",
    "message": HOSTILE,
    "metrics": {HOSTILE: 0.5, "accuracy": 0.9, LONG: 1.0},
    "started": 1.7e9,
    "ended": 1.7e9 + 900,
    "versions": {"torch": LONG},
    "verdict": {
        "passed": False,
        "summary": HOSTILE,
        "criteria": [{"text": LONG, "passed": False, "value": 1}],
    },
    "attempts": [
        {"number": 1, "start": 1.7e9, "end": 1.7e9 + 400, "first_step": 0, "cause": "killed", "reason": LONG},
        {"number": 2, "start": 1.7e9 + 410, "end": 1.7e9 + 900, "first_step": 90, "reason": HOSTILE},
    ],
}
JOB = f"""\
trainer: /x.py:X
monitor: accuracy
name: {json.dumps(HOSTILE)}
params:
  lr: 0.001
  width: 8
  words: {json.dumps(HOSTILE)}
  long: {LONG}
"""
FIGURE = {"value": 1.25, "kind": "estimated", "note": LONG}
USAGE = {
    "time": {"step": 600, "data": 200, HOSTILE: 100},
    "wall_seconds": 900,
    "energy_kwh": {"total": FIGURE},
    "cost": {"amount": FIGURE, "currency": HOSTILE},
}


def history() -> Iterator[dict[str, Any]]:
    for step in range(1, 200):
        loss = "nan" if 120 < step < 130 else math.exp(-step / 40)
        metrics = {"train_loss": loss, "lr": 1e-3, "grad_norm": 1.0, HOSTILE: step, LONG: step}
        yield {"step": step, "attempt": 1 + (step > 90), "metrics": metrics}


def samples() -> Iterator[dict[str, Any]]:
    for second in range(900):
        device = {
            "index": 0,
            "uuid": HOSTILE,
            "utilization": second % 100,
            "memory_used": 1e9,
            "power": 300.0,
        }
        yield {"time": 1.7e9 + second, "devices": [device], "host": {"cpu": 50.0}}


def show(folder: Path) -> None:
    folder.mkdir()
    (folder / "1.png").write_bytes(png.encode(bytes(range(64)) * 3, 8, 8, 3))
    (folder / "2.png").write_bytes(png.encode(bytes(3 * 300 * 300), 300, 300, 3))
    with wave.open(str(folder / "3.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000))
    write(folder / "4.json", [{HOSTILE: HOSTILE, **{f"column {k}": LONG for k in range(8)}}])
    write(folder / "5.txt", HOSTILE + LONG)
    kinds = {"1.png": "image", "2.png": "image", "3.wav": "audio", "4.json": "table", "5.txt": "text"}
    if shutil.which("ffmpeg"):
        subprocess.run([*WEBM, str(folder / "6.webm")], check=True)
        kinds["6.webm"] = "video"
    index = [{"caption": HOSTILE, "file": name, "kind": kind} for name, kind in kinds.items()]
    write(folder / "index.json", [*index, {"caption": LONG, "error": HOSTILE}])


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


class Opened:
    """A page in the browser, and what it complained about or fetched."""

    def __init__(self, browser: Any, path: Path, width: int = 1600, scheme: str = "light") -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.said: list[str] = []
        self.fetched: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append("a dialog"))
        self.page.on("request", lambda request: self.fetched.append(request.url))
        self.page.goto(path.resolve().as_uri())

    def ask(self, script: str) -> Any:
        return self.page.evaluate(script)


def pages(run: Path) -> tuple[Path, Path]:
    return run, run.parent.parent / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_fit_every_screen_in_both_schemes_without_complaint(
    browser: Any, run: Path, width: int, scheme: str
) -> None:
    for path in pages(run):
        opened = Opened(browser, path, width, scheme)
        opened.ask("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert opened.said == []
        assert opened.ask("document.documentElement.scrollWidth") <= width
        assert opened.ask("document.querySelectorAll('svg').length") > 4
        paper = opened.ask("getComputedStyle(document.body).backgroundColor")
        red = int(paper.removeprefix("rgb(").split(",")[0])
        assert (red > 200) == (scheme == "light")
        opened.page.close()


def test_nothing_hostile_does_anything(browser: Any, run: Path) -> None:
    for path in pages(run):
        opened = Opened(browser, path)
        assert opened.ask("document.title") != "owned"
        assert opened.ask("document.querySelectorAll('img[src=x], [onerror]').length") == 0
        assert all(url.startswith(("file://", "data:")) for url in opened.fetched)
        opened.page.close()


def test_even_a_script_that_got_in_would_not_run(browser: Any, run: Path) -> None:
    text = run.read_text().replace(
        "</main>",
        f'<script>{OWN}</script><img src=x onerror="{OWN}"></main>',
    )
    text = text.replace(
        "</main>", "<img src=https://example.invalid/a.png><p style='color:red' id=p>p</p></main>"
    )
    broken = run.with_name("broken.html")
    broken.write_text(text)
    opened = Opened(browser, broken)
    assert opened.ask("document.title") != "owned"
    assert opened.ask("getComputedStyle(document.getElementById('p')).color") != "rgb(255, 0, 0)"
    assert len([line for line in opened.said if "Content Security Policy" in line]) >= 4
    opened.page.close()


def test_pictures_sound_and_film_load(browser: Any, run: Path) -> None:
    opened = Opened(browser, run)
    opened.page.wait_for_function("[...document.images].every(i => i.complete)")
    sizes = opened.ask("[...document.images].map(i => i.naturalWidth)")
    assert sizes == [8, 300]
    opened.page.wait_for_function(
        "[...document.querySelectorAll('audio, video')].every(m => m.readyState > 0 && !m.error)"
    )
    assert opened.ask("document.querySelector('audio').duration") == pytest.approx(1.0, abs=0.1)
    opened.page.close()


def test_large_things_beside_the_page_load_too(
    browser: Any, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nimble_lightning.report.samples.MOST_INSIDE", 0)
    beside = shutil.copytree(run.parent, run.parent.parent.parent / "beside")
    opened = Opened(browser, build(beside))
    opened.page.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth)")
    opened.page.wait_for_function("document.querySelector('audio').readyState > 0")
    assert opened.said == []
    opened.page.close()


def test_a_page_alone_in_a_mail_still_shows_its_charts(browser: Any, run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "attachment.html"
    shutil.copy(run, alone)
    opened = Opened(browser, alone)
    assert opened.ask("[...document.querySelectorAll('path.line')].every(p => p.getBBox().width > 0)")
    assert opened.said == []
    opened.page.close()


def test_curves_are_drawn_as_large_as_their_paper(browser: Any, run: Path) -> None:
    opened = Opened(browser, run, 400)
    box = "(b => [b.width, b.height])(document.querySelector('{}').getBoundingClientRect())"
    width, height = opened.ask(box.format(".chart .data"))
    assert width > 250
    assert height == 190
    assert opened.ask(box.format("path.line"))[1] > height / 2
    opened.page.close()


def test_the_table_of_a_sweep_is_sorted_by_a_click(browser: Any, run: Path) -> None:
    opened = Opened(browser, pages(run)[1])
    names = "[...document.querySelectorAll('#members tbody th')].map(c => c.textContent)"
    before = opened.ask(names)
    for _ in range(2):
        opened.page.click("#members thead th:nth-child(2) button")
    assert opened.ask(names) == ["1", "0"]
    opened.page.click("#members thead th:nth-child(2) button")
    assert opened.ask(names) == ["0", "1"]
    assert sorted(before) == ["0", "1"]
    assert opened.said == []
    opened.page.close()


def test_a_printed_page_is_light_and_shows_what_was_folded_away(browser: Any, run: Path) -> None:
    opened = Opened(browser, run, scheme="dark")
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert opened.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.ask("document.querySelector('details pre').getBoundingClientRect().height") > 0
    opened.page.close()
