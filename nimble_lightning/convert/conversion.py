"""What becomes of settings of others: what is typed, which defaults of theirs are, and what is left out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nimble_lightning.cli.compose import as_value
from nimble_lightning.cli.suggestions import nearest
from nimble_lightning.ops.untrusted_text import cut, printable
from nimble_lightning.report import shipped_defaults

# Words that Hydra takes as they stand, and for nothing but words.
_WORD = re.compile(r"(?!(?:true|false|null|nan|inf)$)[A-Za-z_./][\w./:-]*", re.IGNORECASE)
_MOST_SHOWN = 200


@dataclass(frozen=True)
class LeftOut:
    """A field that is not carried over as it is, and why."""

    field: str
    value: Any
    why: str


@dataclass(frozen=True)
class TheirDefault:
    """A default of theirs that is typed, as ours is another."""

    field: str
    value: Any
    typed: str
    ours: str


@dataclass
class Conversion:
    """A command line of ours in the making.

    Attributes:
        source: Whose settings they were.
        settings: What is typed, value by key, in order.
        defaults: Those of theirs among it.
        left_out: What is not, or not as it was.
        code: What it has built or called, by its dotted names.
    """

    source: str
    settings: dict[str, str] = field(default_factory=dict)
    defaults: list[TheirDefault] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    code: list[str] = field(default_factory=list)

    def type(self, key: str, value: Any, name: str) -> None:
        """Type a setting that stands for the field `name`."""
        if holds_reference(value):
            self.leave_out(name, value, "a reference or the name of code is not taken from a file of others")
        else:
            self.settings[key] = text_of(value)

    def type_default(self, key: str, value: Any, name: str, theirs: Any, ours: str | None = None) -> None:
        """Type a setting for a field that has their default, unless it is ours as well."""
        self.type(key, value, name)
        usual = _usual_text(key) if ours is None else ours
        if self.settings[key] != usual:
            typed = f"{key}={self.settings[key]}"
            self.defaults.append(TheirDefault(name, theirs, typed, usual.strip("'")))

    def leave_out(self, name: str, value: Any, why: str) -> None:
        """Name a field that is not carried over."""
        self.left_out.append(LeftOut(name, value, why))

    def leave_out_unknown(self, name: str, value: Any, known: Iterable[str]) -> None:
        """Name a field that nobody knows, with the nearest that somebody does."""
        near = nearest(name, list(known))
        hint = f"; did you mean {near}?" if near else ""
        self.leave_out(name, value, f"{self.source} has no such field{hint}")

    def words(self) -> list[str]:
        """The command line, word by word."""
        ordered = sorted(self.settings, key=lambda key: (key != "trainer", not key.startswith("params.")))
        typed = [f"{key}={self.settings[key]}" for key in ordered]
        return ["python", "-m", "nimble_lightning", *typed]

    def lines(self) -> list[str]:
        """A script for a shell, whose comments say the rest."""
        head, *typed = ["python -m nimble_lightning", *map(shlex.quote, self.words()[3:])]
        found = [f"# From {self.source}"]
        if self.code:
            found += [f"# It runs {printable(name)}" for name in dict.fromkeys(self.code)]
        found += [" \\\n    ".join([head, *typed])]
        if self.defaults:
            found += ["", "# Their defaults, where ours are others:"]
            found += [
                _comment(each.field, each.value, f"{each.typed} (ours: {each.ours})")
                for each in self.defaults
            ]
        if self.left_out:
            found += ["", "# Not carried over as it was:"]
            found += [_comment(each.field, each.value, each.why) for each in self.left_out]
        return found

    def as_data(self) -> Mapping[str, Any]:
        """The same for programs."""
        return {
            "source": self.source,
            "command": self.words(),
            "code": list(dict.fromkeys(self.code)),
            "defaults": [vars(each) for each in self.defaults],
            "left_out": [vars(each) for each in self.left_out],
        }


def text_of(value: Any) -> str:
    """A value as it is typed: without quotes where it is a plain word."""
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    if isinstance(value, list):
        return "[" + ",".join(map(text_of, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{text_of(item)}" for key, item in value.items()) + "}"
    return as_value(value)


def holds_reference(value: Any) -> bool:
    """Whether something in a value would be resolved, or called, when it is composed."""
    if isinstance(value, Mapping):
        return any(not str(key).isidentifier() or str(key)[0] == "_" for key in value) or any(
            map(holds_reference, value.values())
        )
    if isinstance(value, list):
        return any(map(holds_reference, value))
    return isinstance(value, str) and "${" in value


def _usual_text(key: str) -> str:
    """What a key is when nobody asks for anything."""
    group, _, rest = key.partition(".")
    if not rest and group in shipped_defaults.groups():
        return shipped_defaults.chosen().get(group, "none")
    node: Any = shipped_defaults.defaults()
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return "none" if node is None else text_of(node)


def _comment(name: str, value: Any, text: str) -> str:
    """A line that stays one, whatever a file of others holds."""
    shown = "" if value is None else f" {cut(text_of(value), _MOST_SHOWN)}"
    return f"#   {' '.join(printable(f'{name}{shown}: {text}').split())}"
