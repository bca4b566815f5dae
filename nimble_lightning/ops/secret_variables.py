"""Which values of the environment are secrets: by the variable's name, or by what they look like."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from nimble_lightning.ops.secret_patterns import URL, looks_random, password_of, service_of, tokens_of

_SECRET_NAME = re.compile(
    r"PASSWO?R?D|PASSPHRASE|SECRET|CREDENTIAL|WEBHOOK|(ACCESS|API|AUTH|ENCRYPTION|MASTER|PRIVATE|SIGNING)_?KEY|"
    r"TOKENS?(_|\d*$)|(^|_)(KEYS?|PASS|PWD?|PAT|AUTH|DSN|BEARER|COOKIES?|CREDS?)(_|\d*$)|^NIMBLE_NOTIFICATION",
    re.IGNORECASE,
)
# Folders, files and sockets of secrets are none, nor is what everybody may know.
_PUBLIC_NAME = re.compile(r"^(OLD)?PWD$|PUBLIC_?KEY|_(DIR|FILE|PATH|SOCK)$", re.IGNORECASE)
# What such a variable may hold without being set to a secret; masking it would garble what a run says.
_ORDINARY = re.compile(
    "true|false|yes|no|on|off|none|null|auto|default|empty|unset|enabled|disabled|basic|bearer|oauth|token|"
    "secret|password|passwd|key|auth|login|user|admin|root|guest|anonymous|localhost|test|testing|dev|"
    "development|prod|production|staging|example|changeme|local|public|private|string|value|loss|accuracy|"
    "train|training|eval|evaluate|step|epoch|params|model|data|rank|run|attempt|finished|failed|stopped",
    re.IGNORECASE,
)
_FIGURE = re.compile(r"[\d.]{1,8}")
_SHORTEST = 4
# So short or plain that they are masked only where they stand as a word.
_WORD = re.compile(r"[a-z]+|[A-Z]+|\d+|\w{1,7}")
_CONNECTION = re.compile(
    r"\b(?:password|passwd|pwd|accountkey|sharedaccesskey|client_secret)\s*=\s*([^;\s&'\"]{4,})",
    re.IGNORECASE,
)


class Secrets(NamedTuple):
    """What is secret in a variable.

    Attributes:
        anywhere: Found in any text, whatever stands beside it.
        words: So short or plain that they count as words of their own only.
    """

    anywhere: frozenset[str]
    words: frozenset[str]


def of_environment() -> Secrets:
    """Everything secret that the variables of this process hold."""
    each = [_of_variable(name, value) for name, value in os.environ.items()]
    return Secrets(
        frozenset().union(*(found.anywhere for found in each)),
        frozenset().union(*(found.words for found in each)),
    )


def is_secret_name(name: str) -> bool:
    """Whether the name of a variable says that its value is a secret."""
    return _SECRET_NAME.search(name) is not None and not _PUBLIC_NAME.search(name)


@lru_cache(maxsize=1024)
def _of_variable(name: str, value: str) -> Secrets:
    found = set(_secrets_in(value.strip(), named=is_secret_name(name)))
    words = {secret for secret in found if _WORD.fullmatch(secret)}
    return Secrets(frozenset(found - words), frozenset(words))


def _secrets_in(value: str, *, named: bool) -> Iterator[str]:
    if "-----BEGIN" in value:
        yield from (line for line in re.split(r"\s|\\n", value) if len(line) >= 16)
    elif value.startswith(("{", "[")):
        for key, text in _texts_of(value):
            yield from _secrets_in(text, named=is_secret_name(key))
    elif URL.fullmatch(value):
        yield from tokens_of(value) if named else password_of(value)
        yield from (part for part in re.split(r"[/?&=,]", value) if _looks_secret(part))
    else:
        yield from _CONNECTION.findall(value)
        for word in {value, *re.split(r"[\s,]+", value)}:
            if (named and _may_be_secret(word)) or _looks_secret(word):
                yield word


def _looks_secret(word: str) -> bool:
    return service_of(word) is not None or (looks_random(word) and not _is_path(word))


def _may_be_secret(word: str) -> bool:
    """Of a variable that is called secret: all but what would be found in many a text."""
    plain = len(word) < _SHORTEST or _ORDINARY.fullmatch(word) or _FIGURE.fullmatch(word)
    return not plain and not _is_path(word)


def _is_path(word: str) -> bool:
    """Of something that is there, or could be; one secret in base64 of 64 begins with a slash as well."""
    if not word.startswith(("/", "~/", "./", "../")):
        return False
    path = Path(word).expanduser()
    return (
        not word.startswith("/") or path.exists() or (len(path.parts) > 2 and Path(*path.parts[:2]).exists())
    )


def _texts_of(value: str) -> Iterator[tuple[str, str]]:
    """The texts in a value that is JSON, by their keys, as in the key files of clouds."""

    def walk(key: str, node: Any) -> Iterator[tuple[str, str]]:
        if isinstance(node, str):
            yield key, node
        elif isinstance(node, dict | list):
            for name, entry in node.items() if isinstance(node, dict) else ((key, each) for each in node):
                yield from walk(str(name), entry)

    try:
        yield from walk("", json.loads(value))
    except (ValueError, RecursionError):
        yield from (("", word) for word in re.split(r"[^\w+/.~-]+", value))
