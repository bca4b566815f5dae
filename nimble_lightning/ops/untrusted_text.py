"""Texts of others, before people see them: not too long, and nothing that a terminal would obey."""

from __future__ import annotations

import re

# More of a message or a traceback than this is read by nobody.
MOST = 20_000
# Control characters but for tab and newline; what turns the direction of the text around it.
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def cut(text: str, most: int = MOST) -> str:
    """The beginning and the end of a text that is too long, with how much was left out between them."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[{len(text) - 2 * half:,} characters left out]\n{text[-half:]}"


def printable(text: str) -> str:
    r"""The text with what a terminal would obey written out: `\x1b` instead of a colour or a command."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
