"""Whom the command tells of a folder that may come from anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nimble_lightning.commands.notify import _asked, main
from nimble_lightning.errors import RequestError
from nimble_lightning.notifications.services import VARIABLE
from nimble_lightning.settings import NotificationSettings


def folder(tmp_path: Path, *urls: Any, **more: Any) -> Path:
    job = {"run_id": "x", "callbacks": {"notification": {"urls": list(urls), **more}}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    return tmp_path


@pytest.fixture(autouse=True)
def nobody_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("TEAM", "json://127.0.0.1:9/team")


def test_variables_are_taken_by_their_names_and_nothing_else(tmp_path: Path) -> None:
    place = folder(
        tmp_path,
        "${oc.env:TEAM}",
        "secret:TEAM",
        {"url": "secret:TEAM", "tags": ["a"]},
        templates="/x",
        linger=9,
    )
    urls = ["secret:TEAM", "secret:TEAM", {"url": "secret:TEAM", "tags": ["a"]}]
    assert _asked(place, trust=False) == NotificationSettings(urls=urls)


@pytest.mark.parametrize(
    "url",
    [
        "json://stranger/${oc.env:TEAM}",
        "json://stranger",
        "${oc.env:TEAM,json://stranger}",
        "${params.url}",
        "secret:/home/me/addresses",
        "secret:TEAM/../x",
        {"url": "json://stranger"},
        7,
    ],
)
def test_any_other_address_is_refused_without_being_resolved(tmp_path: Path, url: Any) -> None:
    with pytest.raises(RequestError, match=rf"more than the name of a variable.*{VARIABLE}.*--trust"):
        _asked(folder(tmp_path, url), trust=False)


@pytest.mark.parametrize("more", [{"events": 7}, {"events": {"a": 3}}, {"events": [["best"]]}])
def test_events_of_another_kind_are_refused_in_words(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="lists of words"):
        _asked(folder(tmp_path, "secret:TEAM", **more), trust=False)


def test_a_folder_that_is_trusted_has_its_references_resolved(tmp_path: Path) -> None:
    place = folder(tmp_path, "${oc.env:TEAM}/more", linger="5m")
    assert _asked(place, trust=True) == NotificationSettings(
        urls=["json://127.0.0.1:9/team/more"], linger="5m"
    )


def test_a_variable_that_holds_no_address_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM", "hunter2-is-no-address")
    with pytest.raises(RequestError, match="the variable TEAM holds no address") as refused:
        main(["--test", str(folder(tmp_path, "${oc.env:TEAM}"))])
    assert "hunter2" not in str(refused.value)
