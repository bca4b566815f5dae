"""A finished run that is ended while it shows its results says so, and shows them when asked once more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nimble_lightning as nl

TRAINER = """
import os, signal, sys
from pathlib import Path
from nimble_lightning.testing.tiny import TinyTrainer

class Showing(TinyTrainer):
    def pre_process(self, *, end: str = ""):
        super().pre_process()
        self.end = end

    def predict_and_show(self):
        for number in range(5):
            if number == 2 and not Path("shown-before").exists():
                Path("shown-before").touch()
                eval(self.end)
            yield f"number {number}", float(self.model[0].weight.sum())
"""
ENDS = {
    "os.kill(os.getpid(), signal.SIGKILL)": "killed by SIGKILL",
    "os._exit(0)": "the program left by itself with code 0",
    "sys.exit(0)": "the program left by itself with code 0",
    "os.kill(os.getpid(), signal.SIGSEGV)": "crashed with SIGSEGV",
}


def run(end: str) -> nl.Result:
    Path("trainer.py").write_text(TRAINER)
    return nl.run(
        "trainer.py",
        params={"end": end},
        run_id="some",
        lightning={"max_epochs": 2, "accelerator": "cpu"},
        callbacks={"progress": None},
    )


def index(result: nl.Result) -> list[dict[str, Any]]:
    return json.loads((result.folder / "show" / "index.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "end", [pytest.param(end, marks=[pytest.mark.slow] if number else []) for number, end in enumerate(ENDS)]
)
def test_a_run_that_is_ended_while_it_shows_says_so_and_shows_the_rest_when_asked_again(end: str) -> None:
    first = run(end)
    assert (first.status, first.exit_code) == ("finished", 0)
    assert f"predict_and_show did not come to its end ({ENDS[end]})" in first.message
    record = json.loads((first.folder / "run.json").read_text())
    assert (record["message"], record["attempts"][0]["reason"]) == (first.message, ENDS[end])
    page = (first.folder / "report.html").read_text()
    assert page.count("predict_and_show did not come to its end") >= 1
    assert [entry["caption"] for entry in index(first)] == ["number 0", "number 1", ""]
    second = run(end)
    assert (second.status, second.message) == ("finished", "finished")
    assert [entry["caption"] for entry in index(second)] == [f"number {number}" for number in range(5)]
    assert {(second.folder / "show" / entry["file"]).read_text() for entry in index(second)} == {
        (first.folder / "show" / "01.txt").read_text()
    }
    timeless = {name for name in first.metrics if "_per_second" not in name and "runtime" not in name}
    assert {n: second.metrics[n] for n in timeless} == {n: first.metrics[n] for n in timeless}
    assert "finished already" in run(end).message
