"""An address typed on a command line does not stay there."""

from __future__ import annotations

import sys

import pytest

from nimble_lightning.commands.hide_addresses import addresses_in, conceal

URL = "tgram://123:abc/1"


def become(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[object]:
    called: list[object] = []
    monkeypatch.setattr(sys, "orig_argv", ["python", "nimble-cli", *words])
    conceal(words, become=lambda *given: called.extend(given))
    return called


@pytest.mark.parametrize("words", [["--notification", URL], [f"--notification={URL}"]])
def test_the_command_becomes_one_with_a_variable(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    program, argv, environment = become(monkeypatch, "train", "x.py", *words, "seed=1")
    assert program == sys.executable
    assert URL not in " ".join(argv)
    assert "secret:NIMBLE_NOTIFICATION_1" in " ".join(argv)
    assert argv[-1] == "seed=1"
    assert environment["NIMBLE_NOTIFICATION_1"] == URL


def test_a_command_without_addresses_stays_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert become(monkeypatch, "train", "x.py", "--notification", "secret:NAME", "seed=1") == []
    assert become(monkeypatch) == []


def test_only_what_is_to_be_told_is_taken_for_an_address() -> None:
    words = ["train", "x.py", "--config-dir", "file:///conf", "--notification", URL, "params.at=s3://a/b"]
    assert list(addresses_in(words)) == [URL]
    assert list(addresses_in(["notify", "--test", URL])) == [URL]
    assert list(addresses_in(["verify", "--notification", URL])) == []
