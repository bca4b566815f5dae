"""No text that goes through here shows a secret."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from nimble_lightning.ops import secrets


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    secrets.forget()
    yield
    secrets.forget()


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("tgram://123456789:abcdefg_hijklmnop/12345/", "123456789:abcdefg_hijklmnop"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general", "TIiajkdnlazkcOXrIdevi7FQ"),
        ("mailto://someone:geheim@example.com", "geheim"),
        ("jsons://host.example.com/hook/Kj3ksWq0?x=1", "Kj3ksWq0"),
        ("json://host/?+X-Token=Kj3ksWq0", "Kj3ksWq0"),
        ("pover://user@tokenTOKEN1", "tokenTOKEN1"),
        ("json://user:p%40ss%2Fword@host", "p@ss/word"),
    ],
)
def test_the_tokens_of_an_address_are_masked_wherever_they_stand(url: str, token: str) -> None:
    secrets.learn([url])
    text = f"POST https://api.example.com/{token}/send failed for {url} ({json.dumps({'t': token})})"
    assert token not in secrets.redact(text)


@pytest.mark.parametrize(
    "url", ["json://localhost:8080/", "mailtos://smtp.example.com", "json://10.0.0.1:80/"]
)
def test_a_host_is_no_secret(url: str) -> None:
    secrets.learn([url])
    assert secrets.redact(f"cannot reach {url}") == f"cannot reach {url}"


def test_variables_that_are_called_secret_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "abc-123-def")
    monkeypatch.setenv("HF_TOKEN", "hf_Zk3Jd8s")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "falsehood-9")
    assert secrets.redact("abc-123-def hf_Zk3Jd8s falsehood-9") == "*** *** falsehood-9"


@pytest.mark.parametrize("value", ["/home/me/key", "12345", "auto", "~/x", "secret"])
def test_paths_numbers_and_words_are_no_secrets(value: str) -> None:
    secrets.learn([value])
    assert secrets.redact(f"use {value}") == f"use {value}"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://me:geheim@db/x", "postgresql://me:***@db/x"),
        ("tgram://123:abc/1 was refused", "tgram://*** was refused"),
        ("https://api.telegram.org/bot123:AbC-d/send", "https://api.telegram.org/bot123:***/send"),
        ("GET /x?access_token=abc&page=2", "GET /x?access_token=***&page=2"),
        ("https://example.com/a?b=c", "https://example.com/a?b=c"),
        ("loss=0.5 at tcp://127.0.0.1:29500", "loss=0.5 at tcp://127.0.0.1:29500"),
    ],
)
def test_passwords_in_addresses_nobody_named_are_masked(text: str, masked: str) -> None:
    assert secrets.redact(text) == masked


def test_the_longest_secret_is_masked_whole() -> None:
    secrets.learn(["abc-123", "abc-123-and-more"])
    assert secrets.redact("<abc-123-and-more>") == "<***>"


def test_plain_data_is_masked_through_and_through() -> None:
    secrets.learn(["abc-123"])
    data = {"a": ["x abc-123", 1, None], "abc-123": ("abc-123", {"b": 0.5})}
    assert secrets.redacted(data) == {"a": ["x ***", 1, None], "***": ("***", {"b": 0.5})}


def test_a_stream_learns_while_it_is_open() -> None:
    out = io.StringIO()
    stream = secrets.Redacted(out)
    secrets.learn(["abc-123"])
    assert stream.write("say abc-123\n") == len("say abc-123\n")
    assert out.getvalue() == "say ***\n"
    assert not stream.isatty()


def test_a_path_stays_a_path_whatever_is_in_it() -> None:
    secrets.learn(["Kj3ksWq0"])
    assert secrets.redacted({"at": "/home/Kj3ksWq0/x.ckpt", "why": "in /home/Kj3ksWq0/x"}) == {
        "at": "/home/Kj3ksWq0/x.ckpt",
        "why": "in /home/***/x",
    }


@pytest.mark.parametrize("secret", ['ab"c-123', "ab\\c-123", "pä55-wörter"])
def test_a_secret_is_masked_in_json_and_in_addresses_too(secret: str) -> None:
    secrets.learn([secret])
    assert secrets.redact(json.dumps([secret])) == '["***"]'
    assert secrets.redact(f"https://example.com/{quote(secret, safe='')}") == "https://example.com/***"
