"""Secrets this process knows, and texts without them. Whoever writes what people may read asks here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from typing import Any, TextIO
from urllib.parse import quote

from nimble_lightning.ops import secret_variables
from nimble_lightning.ops.secret_patterns import URL, is_telling, mask_tokens, tokens_of

MASK = "***"

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
    """The text with every secret this process knows, and all that looks like one, masked."""
    return Redactor()(text)


def redacted(value: Any) -> Any:
    """Plain data with the secrets in its texts masked. A path is read again by programs, and left alone."""
    redactor, secrets = Redactor(), known()

    def clean(item: Any) -> Any:
        if isinstance(item, str):
            return item if _PATH.fullmatch(item) and item not in secrets else redactor(item)
        if isinstance(item, dict):
            return {clean(key): clean(entry) for key, entry in item.items()}
        if type(item) in (list, tuple, set):
            return type(item)(clean(entry) for entry in item)
        return item

    return clean(value)


class Redactor:
    """Masks what is secret by now; for writers of many small texts, which cannot ask each time."""

    def __init__(self) -> None:
        found = secret_variables.of_environment()
        self._known = _pattern({*_learnt, *found.anywhere}, found.words)

    def known_values(self, text: str) -> str:
        """Without what is known to be secret; what only looks so is left."""
        return text if self._known is None else self._known.sub(MASK, text)

    def __call__(self, text: str) -> str:
        text = self.known_values(text)
        if "://" in text or "/bot" in text or "=" in text:
            for pattern, replacement in _PATTERNS:
                text = pattern.sub(replacement, text)
        return mask_tokens(text, MASK)


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
    """Every secret value that no word could be: those learnt, and those of the environment."""
    return {*_learnt, *secret_variables.of_environment().anywhere}


def names_of_secret(value: str) -> list[str]:
    """The variables whose names say that they are secret and that hold this value."""
    return [
        name for name, held in os.environ.items() if held == value and secret_variables.is_secret_name(name)
    ]


def _secret_in(value: str) -> list[str]:
    if URL.fullmatch(value):
        return tokens_of(value)
    return [value] if is_telling(value) else []


def _pattern(anywhere: Iterable[str], words: Iterable[str]) -> re.Pattern[str] | None:
    """Finds the longest first, as they stand in plain text, in addresses and in JSON."""
    spelt = {spelling: re.escape(spelling) for secret in anywhere for spelling in _spellings(secret)}
    spelt |= {word: rf"\b{word}\b" for word in words}
    longest_first = sorted(spelt, key=len, reverse=True)
    return re.compile("|".join(spelt[text] for text in longest_first)) if spelt else None


def _spellings(secret: str) -> set[str]:
    """As it stands in plain text, in addresses and in JSON."""
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}
