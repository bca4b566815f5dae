"""From what was typed to what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from typing import Any

from hydra.errors import HydraException, MissingConfigException


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word closest to one that is not known."""
    found = get_close_matches(word.lower(), {name.lower(): name for name in known}, n=1, cutoff=cutoff)
    return next((name for name in known if name.lower() == found[0]), None) if found else None


def nearest_key(key: str, known: Sequence[str]) -> str | None:
    """The dotted name closest to another: each part in its place first, then the last part anywhere.

    `optm.lrr` is near `optim.lr`; so is `lr` on its own.
    """
    corrected = _part_by_part(key, known)
    if corrected is not None and corrected != key:
        return corrected
    last = key.rpartition(".")[2]
    ends = {name.rpartition(".")[2] for name in known}
    end = last if last in ends else nearest(last, ends, 0.8)
    same_end = [name for name in known if name.rpartition(".")[2] == end]
    if same_end:
        # A parameter of one's own is meant sooner than a setting that happens to have the same name.
        return max(
            same_end, key=lambda name: (name.startswith("params."), SequenceMatcher(None, key, name).ratio())
        )
    return nearest(key, known, 0.75)


def _part_by_part(key: str, known: Sequence[str]) -> str | None:
    place = ""
    for part in key.split("."):
        there = {name[len(place) :].partition(".")[0] for name in known if name.startswith(place)}
        # Below a name about which nothing is known, what was typed may be right.
        found = part if part in there or not there else nearest(part, there)
        if found is None:
            return None
        place += f"{found}."
    return place[:-1]


def unknown_key(
    key: str,
    value: str,
    known: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    closed: Container[str] = (),
) -> str:
    """What to say about a key that does not exist; nothing can be added to the sections in `closed`."""
    near = nearest_key(key, [*known, *groups])
    if near is not None and near in groups:
        options = groups[near]
        choice = value if value in options else nearest(value, options)
        if choice or "." not in key:
            return f"There is no {key}; did you mean {near}={choice or options[0]}?"
    if near is not None:
        return f"There is no {key}; did you mean {near}?"
    parent = key.rpartition(".")[0]
    beside = sorted({name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == parent})
    if parent in closed:
        return f"There is no {key}; {parent} has {', '.join(beside)}"
    listed = f"\n{parent or 'The top level'} has {', '.join(beside)}" if beside else ""
    return f"There is no {key}; a new one is added by +{key}={value}{listed}"


def bad_choice(error: MissingConfigException, groups: Mapping[str, Sequence[str]]) -> str:
    """What to say about a file that a group does not have."""
    group, _, choice = (error.missing_cfg_file or "").removesuffix(".yaml").rpartition("/")
    top, _, deeper = group.partition("/")
    if group not in groups and top in groups:
        group, choice = top, f"{deeper}/{choice}"
    options = groups.get(group) or sorted(error.options or [])
    if not group:
        return str(error).splitlines()[0]
    near = nearest(choice, options)
    hint = f"; did you mean {group}={near}?" if near else ""
    return f"{group} has no {choice}{hint}\nThere are: {', '.join(options)}"


def bad_syntax(text: str, error: HydraException) -> str:
    """What to say about an override that cannot be read: where, and what works."""
    key, equals, value = text.partition("=")
    if not equals:
        return f"{text}: an override is key=value"
    if not re.fullmatch(r"[+~]{0,2}[\w./@:\-]+", key):
        return f"{text}: {key!r} cannot be a key; keys are names with dots between them"
    cause = error.__cause__
    token = getattr(cause, "offendingToken", None)
    column = getattr(cause, "startIndex", None) if token is None else token.column
    place = f"{text}\n       {' ' * column}^ not readable from here" if column is not None else text
    plain = value.strip("'\"").replace("'", "\\'")
    return f"{place}\nA value with spaces, = or brackets needs two pairs of quotes: \"{key}='{plain}'\""


def names_of(config: Any, prefix: str = "") -> list[str]:
    """All dotted names of a nested configuration, sections and settings."""
    found: list[str] = []
    if isinstance(config, Mapping):
        for key, value in config.items():
            name = f"{prefix}{key}"
            found += [name, *names_of(value, f"{name}.")]
    return found
