"""In one process: what takes another one is refused or done here, and nothing is passed over in silence."""

from __future__ import annotations

from typing import Any

import pytest

import nimble_lightning as nl
from nimble_lightning.errors import RequestError
from nimble_lightning.runs.completion import report_page

TINY = "nimble_lightning.testing.tiny:TinyTrainer"


def run(**settings: Any) -> nl.Result:
    limits = {"accelerator": "cpu", "max_epochs": 2, **settings.pop("lightning", {})}
    return nl.run(TINY, launch="inline", lightning=limits, logger="none", **settings)


def test_a_replay_is_refused_as_it_takes_processes_of_its_own() -> None:
    with pytest.raises(RequestError, match=r"which launch=inline does not start.*verify FOLDER --replay 1"):
        run(validator="replay")


@pytest.mark.parametrize(("report", "meanwhile"), [(True, False), (1, True)])
def test_a_number_asks_for_pages_while_it_goes_on(
    report: bool | int, meanwhile: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[float] = []
    monkeypatch.setattr(report_page.Refresher, "start", lambda self: started.append(self._interval))
    monkeypatch.setattr(report_page.Refresher, "stop", lambda self: None)
    result = run(report=report)
    assert started == [1.0] * meanwhile
    assert (result.folder / "report.html").is_file()


def test_a_least_number_of_steps_that_the_epochs_do_not_make_is_refused() -> None:
    with pytest.raises(RequestError, match=r"min_steps=7: the run ends after 6 steps in .*max_epochs=2"):
        run(lightning={"min_steps": 7})
    assert run(lightning={"min_steps": 6}).metrics["global_step"] == 6
