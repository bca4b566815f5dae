"""Lengths of time as people write them."""

from __future__ import annotations

import re

from nimble_lightning.errors import RequestError

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_WORDS = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+):(\d+)")


def in_seconds(value: float | str, name: str = "duration") -> float:
    """Seconds in 90, "90", "90m", "1h30m", "02:00:00" or "00:12:00:00" (days first, as Lightning writes it).

    Args:
        value: The length of time.
        name: What it is for, to be named when it cannot be read.
    """
    text = str(value).strip().lower().replace(" ", "")
    seconds = 0.0
    if clock := _CLOCK.fullmatch(text):
        days, hours, minutes, rest = (int(part or 0) for part in clock.groups())
        seconds = days * 86400.0 + hours * 3600 + minutes * 60 + rest
    elif _WORDS.fullmatch(text):
        seconds = sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"([\d.]+)([dhms])", text))
    elif re.fullmatch(r"\d+(?:\.\d+)?", text):
        seconds = float(text)
    if seconds <= 0:
        raise RequestError(
            f"{name}={value!r} is no length of time. Write seconds, 90m, 1h30m or days:hours:minutes:seconds"
        )
    return seconds
