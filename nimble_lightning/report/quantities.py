"""Numbers, times and sizes as people read them."""

from __future__ import annotations

import math
import time
from typing import Any

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def number(value: Any, digits: int = 4) -> str:
    """At most so many significant digits, thousands set apart, and no point where none is needed."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "nan")
    if value == int(value) and abs(value) < 1e15:
        text = f"{int(value):,}"
    elif 1e-4 <= abs(value) < 1e15:
        places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{places}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        text = f"{value:.{digits - 1}g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return text.replace("-", "−") if "e" not in text else text


def duration(seconds: Any) -> str:
    """A length of time in its two largest units."""
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return "unknown"
    if seconds < 10:
        return f"{number(seconds, 2)} s"
    whole = round(seconds)
    parts = (("d", whole // 86400), ("h", whole // 3600 % 24), ("min", whole // 60 % 60), ("s", whole % 60))
    shown = [(unit, count) for unit, count in parts]
    while len(shown) > 1 and not shown[0][1]:
        shown.pop(0)
    return " ".join(f"{count} {unit}" for unit, count in shown[:2] if count)


def between(start: Any, end: Any) -> float | None:
    """Seconds from one moment to another, where both are known."""
    if isinstance(start, int | float) and isinstance(end, int | float):
        return max(0.0, float(end - start))
    return None


def seconds(value: Any) -> float | None:
    """A moment or a length of time; None for what is none."""
    known = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if known else None


def clock(seconds: Any) -> str:
    """A moment, in universal time: the page says the same wherever it is built."""
    if not isinstance(seconds, int | float) or not 0 <= seconds < 1e11:
        return "unknown"
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def size(count: Any) -> str:
    """Bytes in the unit that fits."""
    if not isinstance(count, int | float) or not math.isfinite(count):
        return "unknown"
    power = min(int(math.log(max(1, abs(count)), 1000)), len(_SIZES) - 1)
    return f"{number(count / 1000**power, 3)} {_SIZES[power]}"


def share(part: Any) -> str:
    """A fraction in per cent."""
    return f"{number(part * 100, 3)} %" if isinstance(part, int | float) else "unknown"
