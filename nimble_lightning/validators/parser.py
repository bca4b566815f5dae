"""Reads a criterion such as `accuracy >= 95 %` or `val_loss < best_of(baseline) * 0.98`.

    criterion   comparisons joined by "and", "or" and ",", which is an "and" that binds least; parentheses
    comparison  formula  >= <= > < == !=  formula
    formula     numbers, metrics, + - * / and parentheses; best_of(reference, ...)

A number may be a share (`95 %`). A metric is a word of letters, digits, `_` and `.`, or several with a `/`
between them; any other name is quoted. A division has spaces around its `/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeAlias

from nimble_lightning.errors import RequestError
from nimble_lightning.validators.formula import (
    Best,
    Compared,
    Condition,
    Formula,
    Joined,
    Metric,
    Number,
    Term,
    best_in,
    metrics_in,
)

Part: TypeAlias = Condition | Formula

_TOKEN = re.compile(
    r"""
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?:\s*%)?)
    | (?P<best>best_of\s*\()
    | (?P<word>[^\W\d][\w.]*(?:/[^\W\d][\w.]*)*)
    | (?P<quoted>"[^"]+"|'[^']+'|`[^`]+`)
    | (?P<sign>>=|<=|==|!=|[<>]|[-+*/(),])
    """,
    re.VERBOSE,
)
_REFERENCE = re.compile(r"""\s*("[^"]+"|'[^']+'|`[^`]+`|[^\s,()"'`][^,()]*?)\s*([,)])""")
_COMPARING = (">=", "<=", ">", "<", "==", "!=")
_WORDS = ("and", "or")
# Nobody writes that deep; a text made to exhaust the stack does.
_DEEPEST = 40
_LONGEST = 800


@dataclass(frozen=True)
class Token:
    """A piece of text; `kind` is number, word, quoted, best, sign, end or unknown."""

    kind: str
    text: str
    start: int
    end: int


def parse(text: str) -> Condition:
    """The condition that a text means; a RequestError says where it cannot be read."""
    if len(text) > _LONGEST:
        raise RequestError(
            f"A criterion has at most {_LONGEST} characters; {text[:40]!r}... has {len(text)}."
        )
    return _Reader(text).condition()


class _Reader:
    """Goes through a text from left to right, one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = 0
        self._end = 0
        self.next = self._token(0)

    def condition(self) -> Condition:
        """The whole text."""
        start = self.next
        found = self._joined()
        condition = self._condition(found, start)
        if self.next.kind != "end":
            self.refuse("and, or, or a comma")
        return condition

    def refuse(self, expected: str, at: Token | None = None) -> NoReturn:
        start = (at or self.next).start
        rest = self._text[start:].strip()
        where = f"column {start + 1}, {rest[:20]!r}" if rest else "its end"
        raise RequestError(
            f"The criterion {self._text[:200]!r} cannot be read at {where}: expected {expected}."
        )

    def _joined(self) -> Part:
        return self._conditions(self._any, ",", "and")

    def _any(self) -> Part:
        return self._conditions(self._all, "or", "or")

    def _all(self) -> Part:
        return self._conditions(self._compared, "and", "and")

    def _conditions(self, read: Callable[[], Part], word: str, how: Literal["and", "or"]) -> Part:
        start, first = self.next, read()
        if not self._is(word):
            return first
        parts = [self._condition(first, start)]
        while self._is(word):
            self._advance()
            start = self.next
            parts.append(self._condition(read(), start))
        return Joined(how, tuple(parts))

    def _compared(self) -> Part:
        start, left = self.next, self._sum()
        if self.next.text not in _COMPARING:
            return left
        left = self._formula(left, start)
        sign = self._advance().text
        begin = self.next
        right = self._formula(self._sum(), begin)
        if self.next.text in _COMPARING:
            self.refuse("one comparison at a time, joined by and")
        compared = Compared(self._text[start.start : self._end].strip(), sign, left, right)
        self._check_best(compared, start)
        return compared

    def _sum(self) -> Part:
        return self._terms(self._product, ("+", "-"))

    def _product(self) -> Part:
        return self._terms(self._factor, ("*", "/"))

    def _terms(self, read: Callable[[], Part], signs: tuple[str, str]) -> Part:
        start, left = self.next, read()
        while self.next.kind == "sign" and self.next.text in signs:
            sign = self._advance().text
            begin = self.next
            left = Term(sign, self._formula(left, start), self._formula(read(), begin))
        return left

    def _factor(self) -> Part:
        token = self.next
        if token.kind == "number":
            return _number(self._advance().text)
        if token.kind == "quoted":
            return Metric(self._advance().text[1:-1])
        if token.kind == "word" and token.text not in _WORDS:
            return Metric(self._advance().text)
        if token.kind == "best":
            return self._references()
        if token.text in ("-", "("):
            return self._nested()
        return self.refuse("a number or the name of a metric")

    def _nested(self) -> Part:
        """What follows a minus sign, or stands in parentheses."""
        self._depth += 1
        if self._depth > _DEEPEST:
            self.refuse(f"no more than {_DEEPEST} levels")
        if self._advance().text == "-":
            begin = self.next
            found: Part = Term("*", Number(-1.0), self._formula(self._factor(), begin))
        else:
            found = self._joined()
            if self.next.text != ")":
                self.refuse(")")
            self._advance()
        self._depth -= 1
        return found

    def _references(self) -> Best:
        names, at, closed = [], self.next.end, False
        while not closed:
            found = _REFERENCE.match(self._text, at)
            if found is None:
                self.refuse("references in parentheses, as in best_of(baseline)")
            names.append(found[1].strip("\"'`"))
            at, closed = found.end(), found[2] == ")"
        self._end = at
        self.next = self._token(at)
        return Best(tuple(names))

    def _formula(self, part: Part, start: Token) -> Formula:
        if isinstance(part, Compared | Joined):
            self.refuse("a number or the name of a metric, not a comparison", start)
        return part

    def _condition(self, part: Part, start: Token) -> Condition:
        if not isinstance(part, Compared | Joined):
            self.refuse(f"one of {' '.join(_COMPARING)}")
        return part

    def _check_best(self, compared: Compared, start: Token) -> None:
        """The best of some references is that in one metric, and the sign has to say what better means."""
        sides = [any(best_in(side)) for side in (compared.left, compared.right)]
        if any(sides) and (
            all(sides) or compared.sign in ("==", "!=") or len(set(metrics_in(compared))) != 1
        ):
            self.refuse("best_of(...) held by >= <= > or < against one metric on the other side", start)

    def _is(self, word: str) -> bool:
        return self.next.kind in ("word", "sign") and self.next.text == word

    def _advance(self) -> Token:
        token = self.next
        self._end = token.end
        self.next = self._token(token.end)
        return token

    def _token(self, at: int) -> Token:
        rest = len(self._text) - len(self._text[at:].lstrip())
        if rest == len(self._text):
            return Token("end", "", rest, rest)
        found = _TOKEN.match(self._text, rest)
        if found is None or found.lastgroup is None:
            return Token("unknown", "", rest, rest)
        return Token(found.lastgroup, found[0], rest, found.end())


def _number(text: str) -> Number:
    return Number(float(text[:-1]) / 100) if text.endswith("%") else Number(float(text))
