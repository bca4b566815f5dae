"""Names of metrics and references that do not exist, and what was probably meant."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from nimble_lightning.errors import RequestError


def unknown(kind: str, name: str, known: Collection[str]) -> str:
    """What to say about a name nobody has."""
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known)) or 'none'}"
    return f"There is no {kind} {name}; {hint}"


def require(kind: str, names: Collection[str], known: Collection[str]) -> None:
    """Refuse the first name that is not known."""
    for name in names:
        if name not in known:
            raise RequestError(unknown(kind, name, known))
