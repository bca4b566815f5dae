"""`nimble-cli runs`, `show`, `compare` and `rm` on folders made by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import report_cases

from nimble_lightning.commands import main
from nimble_lightning.run_folder import LOCK
from nimble_lightning.runs.lock import RunLock, holder


@pytest.fixture
def sweep() -> Path:
    """Two members of which the second is better, and two more parameters than fit 80 columns."""
    folder = Path("outputs/digits/sweep")
    for number, (lr, accuracy) in enumerate(((0.001, 0.25), (0.5, 0.75))):
        run = report_cases.run(folder / str(number), metrics={"accuracy": accuracy, "epochs_done": 3.0})
        report_cases.write(run / "job.yaml", report_cases.JOB.replace("lr: 0.001", f"lr: {lr}"))
    report_cases.write(folder / "sweep.json", {"objectives": {"accuracy": "maximize"}})
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    assert main.main(list(map(str, words))) == code
    streams = capsys.readouterr()
    return streams.err if code == 2 else streams.out


def test_runs_are_listed_from_outputs_with_figure_and_what_varies(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = said(capsys, "runs", "--sort", "accuracy").splitlines()
    assert lines[0].split() == ["run", "status", "started", "time", "figure", "params.lr"]
    assert [line.split()[0] for line in lines[1:3]] == [f"{sweep}/1", f"{sweep}/0"]
    assert lines[1].endswith("0.5")
    assert lines[3] == "2 runs, by accuracy, highest first: higher is better"


def test_for_programs_there_is_everything(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(said(capsys, "runs", sweep, "--where", "accuracy>0.5", "--json"))
    assert [each["metrics"]["accuracy"] for each in listed] == [0.75]
    assert listed[0]["settings"]["params.lr"] == 0.5
    assert listed[0]["status"] == "finished"


def test_no_runs_are_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    Path("outputs").mkdir()
    assert said(capsys, "runs") == "0 runs, newest first\n"


def test_one_run_is_shown_with_the_command_that_asks_for_it_again(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "show", sweep / "1")
    assert "accuracy" in text
    assert "higher is better" in text
    assert "params.lr=0.5" in text


def test_a_folder_that_holds_runs_is_not_taken_for_one(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"2 below it: nimble-cli runs {sweep}" in said(capsys, "show", sweep, code=2)


def test_compared_runs_show_what_differs_and_which_is_best(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "compare", sweep / "0", sweep / "1", "--page", "both.html")
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert rows["params.lr"] == ["0.001", "0.5"]
    assert rows["accuracy"] == ["0.25", "0.75", "*"]
    assert rows["epochs_done"] == ["3", "3"], "nothing is best where all are alike"
    page = Path("both.html").read_text()
    assert "<strong>0.75</strong> best" in page
    assert page.count('class="line c0"') == page.count('class="line c1"') > 0


def test_a_run_is_removed_only_when_somebody_agrees(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "add --yes" in said(capsys, "rm", sweep / "0", code=2)
    terminal = io.StringIO("n\n")
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", terminal)
    assert "nothing was removed" in said(capsys, "rm", sweep / "0", code=1)
    assert (sweep / "0").exists()
    assert "removed 1" in said(capsys, "rm", sweep / "0", "--yes")
    assert not (sweep / "0").exists()


def test_the_best_of_a_sweep_is_removed_only_when_it_is_meant(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "best member" in said(capsys, "rm", sweep / "1", sweep / "0", "--yes", code=2)
    assert (sweep / "0").exists(), "all or none"
    said(capsys, "rm", sweep / "1", "--yes", "--best")
    assert not (sweep / "1").exists()


def test_a_run_that_goes_on_is_not_removed(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLock(sweep / "0" / LOCK):
        assert "nimble-cli stop" in said(capsys, "rm", sweep / "0", "--yes", code=2)
    assert (sweep / "0").exists()


def test_whoever_a_strange_lock_names_is_not_taken_for_its_holder(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunLock(sweep / "0" / LOCK):
        owner = json.loads((sweep / "0" / LOCK).read_text())
    for pid in (1, owner["pid"]):
        (sweep / "0" / LOCK).write_text(json.dumps({**owner, "pid": pid}))
        assert holder(sweep / "0" / LOCK) is None
    assert "not going on" in said(capsys, "stop", sweep / "0", code=2)
