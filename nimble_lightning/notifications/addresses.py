"""Who is told what: addresses given by reference, read and checked before anything is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from nimble_lightning.errors import RequestError
from nimble_lightning.notifications import services
from nimble_lightning.notifications.events import EventKind
from nimble_lightning.ops import secrets

if TYPE_CHECKING:
    import apprise

Entry = str | Mapping[str, Any]
Events = Sequence[str] | Mapping[str, Sequence[str]] | None


@dataclass(frozen=True)
class Address:
    """One service to tell.

    Attributes:
        service: Apprise's object for it.
        kinds: The events that go there.
        label: Its address without what is secret in it, for people.
        key: Tells it from the others in the outbox.
    """

    service: apprise.NotifyBase = field(repr=False)
    kinds: frozenset[str]
    label: str
    key: str

    @property
    def wants_markdown(self) -> bool:
        formats = self.service.notify_format
        first = formats[0] if isinstance(formats, tuple) else formats
        return str(getattr(first, "value", first)) != "text"


def find(urls: str | Sequence[Entry] | None, events: Events = None) -> list[Address]:
    """The addresses that `urls` refer to; without any, those in NIMBLE_NOTIFICATION_URLS.

    Args:
        urls: Each an address, `secret:NAME` (a variable), `secret:/FILE` (of addresses, one a line), a file
            of Apprise's (`.yml`), or `{url: ..., tags: [...], events: [...]}`.
        events: The kinds of event that are told, or for each tag those that go to its addresses.

    Raises:
        RequestError: One is not there, not private, or not what its service expects.
    """
    given: Sequence[Entry] = [urls] if isinstance(urls, str) else list(urls or services.from_environment())
    _check_kinds(events)
    found: list[Address] = []
    for position, entry in enumerate(given, start=1):
        url, tags, own = _taken_apart(entry, position)
        for service in services.services(url, position):
            wanted = _kinds_for({*tags, *map(str, service.tags)}, own, events)
            found.append(_address(service, wanted, found))
    return found


def learn(urls: str | Sequence[Entry] | None) -> None:
    """Let this process keep the tokens in these addresses out of what it writes, though it tells nobody."""
    entries = [urls] if isinstance(urls, str) else list(urls or ())
    for entry in entries:
        services.learn(str(entry.get("url", "")) if isinstance(entry, Mapping) else entry)


def _taken_apart(entry: Entry, position: int) -> tuple[str, list[str], list[str] | None]:
    if isinstance(entry, str):
        return entry, [], None
    unknown = set(entry) - {"url", "tags", "events"}
    if unknown or not entry.get("url"):
        raise RequestError(
            f"Notification address {position} is a mapping with {', '.join(map(str, entry)) or 'nothing'}; "
            "expected url, and if you like tags and events."
        )
    own = None if entry.get("events") is None else _as_list(entry["events"])
    _check_kinds(own)
    return str(entry["url"]), _as_list(entry.get("tags")), own


def _address(service: Any, kinds: frozenset[str], others: Sequence[Address]) -> Address:
    shown = str(service.url(privacy=True)).partition("?")[0]
    # Apprise hides what a service calls a token; the path of a webhook of one's own is as good as one.
    label = secrets.Redactor().known_values(shown)
    again = sum(other.label.partition(" ")[0] == label for other in others)
    digest = hashlib.sha256(str(service.url(privacy=False)).encode()).hexdigest()
    label = f"{label} ({again + 1})" if again else label
    # A few digits tell a changed token; all of them would let somebody try passwords against them.
    return Address(service, kinds, label, f"{label}~{digest[:4]}")


def _kinds_for(tags: set[str], own: Sequence[str] | None, events: Events) -> frozenset[str]:
    """An address's own choice, else what its tags stand for, else what is told at all."""
    if own is not None:
        return frozenset(own)
    if isinstance(events, Mapping):
        chosen = [kind for tag in tags for kind in events.get(tag, ())]
        return frozenset(chosen) if tags & set(events) else frozenset(events.get("all", EventKind))
    named = tags & set(EventKind)
    return frozenset(named or (EventKind if events is None else events))


def _check_kinds(events: Events) -> None:
    groups = events.values() if isinstance(events, Mapping) else [events or ()]
    for kind in (str(kind) for group in groups for kind in group):
        if EventKind.named(kind) is None:
            near = get_close_matches(kind, list(EventKind), 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(EventKind)}."
            raise RequestError(f"There is no event {kind!r} to be told of; {hint}")


def _as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value or ()]
