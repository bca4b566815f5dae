"""Secrets this process knows, and texts without them. Whoever writes what people may read asks here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from typing import Any, TextIO
from urllib.parse import quote, unquote

MASK = "***"

_SECRET_NAME = re.compile(
    r"(^|_)(TOKENS?|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY|WEBHOOK)(_|$|\d)|^NIMBLE_NOTIFICATION",
    re.IGNORECASE,
)
_URL = re.compile(r"[A-Za-z][\w+.-]*://\S+")
# What is in an address and tells nobody anything: hosts, plain words, short numbers.
_PLAIN = re.compile(r"[a-z]{1,12}|[A-Z]{1,6}|\d{1,5}|(?:[\w-]+\.)+[\w-]+(?::\d+)?|[\d.:]+")
_SHORTEST = 6
_PATH = re.compile(r"/[^\s:]*")

# Addresses nobody has named to us, as they stand in tracebacks and messages of libraries.
_PATTERNS = (
    (re.compile(r"(\b[A-Za-z][\w+.-]*://[^\s/:@'\"]*:)[^\s/@'\"]+(?=@)"), rf"\1{MASK}"),
    (
        re.compile(
            r"\b((?:tgram|slack|discord|pover|pbul|gotifys?|matrixs?|mmosts?|rockets?|msteams|workflows?|gchat|"
            r"twilio|prowl|ifttt|zulip|ntfys?|sendgrid|mailgun|bark|join|signals?|whatsapp|webexteams)://)"
            r"[^\s'\",\])}>]+"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(/bot\d+:)[\w-]+"), rf"\1{MASK}"),
    (
        re.compile(r"([?&](?:[\w-]*(?:token|secret|password|api_?key|signature)|sig|pass)=)[^\s&'\"]+", re.I),
        rf"\1{MASK}",
    ),
)

_learnt: set[str] = set()


def learn(values: Iterable[str]) -> None:
    """Keep these values, and the tokens in those that are addresses, out of every text from now on."""
    for value in values:
        _learnt.update(_secret_in(value))


def forget() -> None:
    """Forget what was learnt; variables of the environment stay secret."""
    _learnt.clear()


def redact(text: str) -> str:
    """The text with every secret this process knows, and every password in an address, masked."""
    return Redactor()(text)


def redacted(value: Any) -> Any:
    """Plain data with the secrets in its texts masked. A path is read again by programs, and left alone."""
    redactor = Redactor()

    def clean(item: Any) -> Any:
        if isinstance(item, str):
            return item if _PATH.fullmatch(item) else redactor(item)
        if isinstance(item, dict):
            return {clean(key): clean(entry) for key, entry in item.items()}
        if type(item) in (list, tuple, set):
            return type(item)(clean(entry) for entry in item)
        return item

    return clean(value)


class Redactor:
    """Masks what is secret by now; for writers of many small texts, which cannot ask each time."""

    def __init__(self) -> None:
        spelt = {spelling for secret in known() for spelling in _spellings(secret)}
        longest_first = sorted(spelt, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if spelt else None

    def known_values(self, text: str) -> str:
        """Without what is known to be secret; what only looks so is left."""
        return text if self._known is None else self._known.sub(MASK, text)

    def __call__(self, text: str) -> str:
        text = self.known_values(text)
        if "://" in text or "/bot" in text or "=" in text:
            for pattern, replacement in _PATTERNS:
                text = pattern.sub(replacement, text)
        return text


class Redacted:
    """A text stream that masks secrets on the way; everything else is the stream it was."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._redact, self._knows = Redactor(), len(_learnt)

    def write(self, text: str) -> int:
        if self._knows != len(_learnt):
            self._redact, self._knows = Redactor(), len(_learnt)
        self._stream.write(self._redact(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def known() -> set[str]:
    """Every secret value: those learnt, and those of variables whose names say that they are secret."""
    values = set(_learnt)
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name):
            for part in value.split():
                values.update(_secret_in(part))
    return values


def names_of_secret(value: str) -> list[str]:
    """The variables whose names say that they are secret and that hold this value."""
    return [name for name, held in os.environ.items() if held == value and _SECRET_NAME.search(name)]


def is_telling(value: str) -> bool:
    """Whether a value could be a secret, as opposed to a path, a number or a word."""
    return len(value) >= _SHORTEST and value[0] not in "/~." and not _PLAIN.fullmatch(value)


def tokens_of(url: str) -> list[str]:
    """The parts of an address that could be tokens or passwords, as they stand there and unquoted."""
    rest = url.partition("://")[2]
    authority, _, path = rest.partition("/")
    user, _, host = authority.rpartition("@")
    host = re.sub(r":\d+$", "", host)
    parts = re.split(r"[/?&,]", f"{host}/{path}")
    values = [part.partition("=")[2] if "=" in part else part for part in parts]
    values.append(user.partition(":")[0])
    found = [value for value in values if is_telling(value)]
    if (password := user.partition(":")[2]) and len(password) > 3:
        found.append(password)
    return [spelling for value in found for spelling in {value, unquote(value)}]


def _secret_in(value: str) -> list[str]:
    if _URL.fullmatch(value):
        return tokens_of(value)
    return [value] if is_telling(value) else []


def _spellings(secret: str) -> set[str]:
    """As it stands in plain text, in addresses and in JSON."""
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}
