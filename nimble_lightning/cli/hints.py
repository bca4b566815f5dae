"""From what was typed to what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from typing import Any

from hydra.errors import HydraException, MissingConfigException


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word closest to one that is not known."""
    found = get_close_matches(word.lower(), {name.lower(): name for name in known}, n=1, cutoff=cutoff)
    return next((name for name in known if name.lower() == found[0]), None) if found else None


def nearest_key(key: str, known: Sequence[str]) -> str | None:
    """The dotted name closest to another: by its last part in the same place first, then anywhere.

    `optim.lrr` is near `optim.lr`; so is `lr` on its own, because the last part is the same.
    """
    parent, _, last = key.rpartition(".")
    siblings = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == parent}
    found = nearest(last, list(siblings), 0.6)
    if found is not None:
        return siblings[found]
    same_end = [name for name in known if name.rpartition(".")[2] == last]
    if same_end:
        return max(same_end, key=lambda name: SequenceMatcher(None, key, name).ratio())
    return nearest(key, known, 0.75)


def unknown_key(key: str, value: str, known: Sequence[str], groups: Mapping[str, Sequence[str]]) -> str:
    """What to say about a key that does not exist."""
    near = nearest_key(key, [*known, *groups])
    if near in groups:
        options = groups[near]
        choice = value if value in options else nearest(value, options)
        if choice or "." not in key:
            return f"There is no {key}; did you mean {near}={choice or options[0]}?"
    if near is not None:
        return f"There is no {key}; did you mean {near}?"
    parent = key.rpartition(".")[0]
    beside = sorted({name for name in known if name.rpartition(".")[0] == parent})
    listed = f"\n{parent or 'The top level'} has {', '.join(n.rpartition('.')[2] for n in beside)}" if beside else ""
    return f"There is no {key}; a new one is added by +{key}={value}{listed}"


def bad_choice(error: MissingConfigException) -> str:
    """What to say about a file that a group does not have."""
    group, _, choice = (error.missing_cfg_file or "").removesuffix(".yaml").rpartition("/")
    options = sorted(option for option in (error.options or []) if not option.startswith("_"))
    if not group:
        return str(error).splitlines()[0]
    near = nearest(choice, options)
    hint = f"did you mean {group}={near}?" if near else "choose another:"
    return f"{group} has no {choice}; {hint}\nThere are: {', '.join(options)}"


def bad_syntax(text: str, error: HydraException) -> str:
    """What to say about an override that cannot be read: where, and what works."""
    key, equals, value = text.partition("=")
    if not equals:
        return f"{text}: an override is key=value"
    if not re.fullmatch(r"[+~]{0,2}[\w./@:\-]+", key):
        return f"{text}: {key!r} cannot be a key; keys are names with dots between them"
    column = re.search(r"column (\d+)", f"{error} {error.__cause__}")
    place = f"{text}\n{' ' * (int(column[1]))}^ not readable from here" if column else text
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
