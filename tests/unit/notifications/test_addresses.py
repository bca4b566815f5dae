"""Addresses are found by reference, checked, and refused with the way to write them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.notifications import addresses
from nimble_lightning.notifications.events import EventKind
from nimble_lightning.notifications.services import VARIABLE
from nimble_lightning.ops import secrets

HOOK = "json://localhost:1/Kj3ksWq0"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    yield
    secrets.forget()


def private(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_without_urls_there_are_those_of_the_environment_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert addresses.find(None) == []
    monkeypatch.setenv(VARIABLE, f"{HOOK}, xml://localhost:2/ form://localhost:3/?a=b,c")
    assert [a.service.schema for a in addresses.find(None)] == ["json", "xml", "form"]


def test_references_lead_to_addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MY_HOOK", HOOK)
    lines = private(tmp_path / "urls", f"# mine\n{HOOK}\n\nxml://localhost:2/\n")
    found = addresses.find(["secret:MY_HOOK", f"secret:{lines}", {"url": "secret:MY_HOOK"}])
    assert [a.service.schema for a in found] == ["json", "json", "xml", "json"]


def test_a_file_of_apprise_brings_its_tags(tmp_path: Path) -> None:
    text = f"urls:\n  - {HOOK}:\n    - tag: oncall\n  - xml://localhost:2/:\n    - tag: finished\n"
    file = private(tmp_path / "apprise.yml", text)
    events = {"oncall": ["failed", "hung"]}
    oncall, by_kind = addresses.find([file], events)
    assert oncall.kinds == {"failed", "hung"}
    assert by_kind.kinds == set(EventKind)
    assert addresses.find([f"secret:{file}"])[1].kinds == {"finished"}


def test_what_goes_where_is_the_address_own_choice_then_its_tags_then_everything() -> None:
    entries = [{"url": HOOK, "events": "best"}, {"url": HOOK, "tags": ["night"]}, HOOK]
    events = {"night": ["failed"], "all": ["finished"]}
    assert [set(a.kinds) for a in addresses.find(entries, events)] == [{"best"}, {"failed"}, {"finished"}]
    assert addresses.find([HOOK], ["hung"])[0].kinds == {"hung"}


def test_neither_label_nor_key_nor_repr_shows_a_token() -> None:
    hooks = [HOOK, HOOK.replace("Kj3ksWq0", "Zz9ksWq1"), "tgram://123456789:abcdefg_hijklmnop/12345/"]
    found = addresses.find(hooks)
    shown = " ".join(f"{a.label} {a.key} {a!r}" for a in found)
    assert not any(token in shown for token in ("Kj3ksWq0", "Zz9ksWq1", "abcdefg"))
    assert len({a.key for a in found}) == len({a.label for a in found}) == 3


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("tgram://nonsense", r"not what Telegram expects: tgram://\{bot_token\}"),
        ("tgrm://x", "did you mean tgram://"),
        ("nothing", "neither an address nor a reference"),
        ("secret:NO_SUCH", "variable NO_SUCH, which is not set"),
        ("secret:/no/such/file", "cannot be read: No such file"),
        ({"url": HOOK, "event": "best"}, "expected url"),
        ({"url": HOOK, "events": ["faild"]}, "did you mean failed"),
    ],
)
def test_what_cannot_be_told_is_refused_with_help(entry: addresses.Entry, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        addresses.find([entry])


@pytest.mark.parametrize("name", ["urls", "apprise.yml"])
def test_a_file_others_can_read_is_refused_with_the_command_to_type(tmp_path: Path, name: str) -> None:
    file = private(tmp_path / name, HOOK, 0o644)
    with pytest.raises(RequestError, match=f"chmod 600 {file}"):
        addresses.find([f"secret:{file}"])


def test_a_refusal_does_not_repeat_the_address() -> None:
    with pytest.raises(RequestError) as refusal:
        addresses.find(["tgram://botKj3ksWq0"])
    assert "Kj3ksWq0" not in str(refusal.value)


def test_tokens_are_learnt_without_apprise_and_without_a_right_address(tmp_path: Path) -> None:
    file = private(tmp_path / "apprise.yml", "urls:\n  - nosuch://x/Kj3ksWq0\n")
    addresses.learn([file, {"url": "slack://Aa1Bb2Cc3"}])
    assert secrets.redact("Kj3ksWq0 Aa1Bb2Cc3") == "*** ***"


def test_missing_apprise_is_named_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    with pytest.raises(RequestError, match=r"pip install 'apprise>=2,<3'"):
        addresses.find([HOOK])
