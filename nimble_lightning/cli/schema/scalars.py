"""Single values as their types want them, however the command line or a YAML file spelt them."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any


class Mismatch(Exception):
    """A value does not fit; the text says what would."""

    def __init__(self, expected: str, choices: list[Any] | None = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.choices = choices or []

    def hint(self, value: Any) -> str:
        """`; did you mean 'relu'?` when one choice is close."""
        near = get_close_matches(str(value), [str(choice) for choice in self.choices], n=1, cutoff=0.5)
        return f"; did you mean {near[0]!r}?" if near else ""


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    raise Mismatch("int")


def _positive(value: Any) -> int:
    try:
        number = _integer(value)
    except Mismatch:
        number = 0
    if number < 1:
        raise Mismatch("a whole number of at least 1")
    return number


def _natural(value: Any) -> int:
    try:
        number = _integer(value)
    except Mismatch:
        number = -1
    if number < 0:
        raise Mismatch("a whole number of at least 0")
    return number


def _unlimited(value: Any) -> int:
    try:
        return -1 if _integer(value) == -1 else _natural(value)
    except Mismatch:
        raise Mismatch("a whole number of at least 0, or -1 for no end") from None


def _epochs(value: Any) -> int | float:
    if isinstance(value, float) and value > 0:
        return value
    try:
        return _unlimited(value)
    except Mismatch:
        raise Mismatch("a number of epochs, which may be a fraction such as 1.5, or -1 for no end") from None


def _batches(value: Any) -> int | float:
    if isinstance(value, float) and 0.0 <= value <= 1.0:
        return value
    try:
        return _natural(value)
    except Mismatch:
        raise Mismatch("a whole number of batches, or a share of them from 0.0 to 1.0") from None


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    raise Mismatch("float")


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise Mismatch("bool (true or false)")


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    # A name made of digits reads as a number. Other spellings (1e3, true) would not come back as typed.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Mismatch("str")


def _path(value: Any) -> str:
    try:
        return _string(value)
    except Mismatch:
        raise Mismatch("a path") from None


SCALARS: dict[str, Callable[[Any], Any]] = {
    "int": _integer,
    "float": _number,
    "bool": _boolean,
    "str": _string,
    "Path": _path,
    "PathLike": _path,
    # Not types of Python's, but of the tables of settings.
    "Positive": _positive,
    "Natural": _natural,
    "Unlimited": _unlimited,
    "Batches": _batches,
    "Epochs": _epochs,
}
