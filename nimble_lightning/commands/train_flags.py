"""The flags of `nimble-cli train`, and the overrides they stand for. One table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nimble_lightning.cli.compose import as_value

_URL = re.compile(r"[A-Za-z][\w+.-]*://\S+|secret:\S+")
_KEY = re.compile(r"(?!.*(=|\.py$|\.py:)).+")
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[A-Za-z_][\w-]*")


@dataclass
class Translation:
    """What a command line of flags comes to.

    Attributes:
        overrides: In Hydra's words.
        environment: Variables the overrides refer to. Addresses of notifications are secrets: an override
            would show them in the process list, in the run's configuration and in reports.
        notices: What this version does not do.
    """

    overrides: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Flag:
    """One flag.

    Attributes:
        name: As it is typed, without dashes.
        home: The group, or the member of one, that does the work; without it the flag does nothing.
        argument: What may follow it, for people; "" for nothing.
        accepts: What a following word has to look like; any other word is not the flag's.
        several: Whether more than one may follow.
        translate: From the words that followed to overrides.
        help: One line.
    """

    name: str
    home: str
    argument: str
    accepts: re.Pattern[str] | None
    several: bool
    translate: Callable[[Sequence[str], Translation], list[str]]
    help: str


def translate(given: Mapping[str, Sequence[str]], exists: Callable[[str], bool]) -> Translation:
    """Turn flags into overrides.

    Args:
        given: The flags that were used, each with the words that followed it.
        exists: Whether a `group` or `group.member` is part of this version.
    """
    result = Translation()
    for flag in FLAGS:
        if flag.name not in given:
            continue
        if exists(flag.home):
            result.overrides += flag.translate(given[flag.name], result)
        else:
            result.notices.append(f"--{flag.name}: accepted, but this version does nothing for it yet")
    return result


def take(words: Sequence[str], flag: Flag) -> tuple[list[str], list[str]]:
    """The words after a flag that are its own, and those that are not."""
    own: list[str] = []
    for position, word in enumerate(words):
        full = own and not flag.several
        if flag.accepts is None or full or not flag.accepts.fullmatch(word):
            return own, list(words[position:])
        own.append(word)
    return own, []


def _switch(home: str) -> Callable[[Sequence[str], Translation], list[str]]:
    return lambda words, result: [f"{home}=true"]


def _notification(words: Sequence[str], result: Translation) -> list[str]:
    overrides = ["callbacks.notification=true"]
    references = []
    for number, address in enumerate(words, start=1):
        if address.startswith("secret:"):
            references.append(address)
            continue
        variable = f"NIMBLE_NOTIFICATION_{number}"
        result.environment[variable] = address
        references.append(f"${{oc.env:{variable}}}")
    if references:
        overrides.append(f"callbacks.notification.urls={as_value(references)}")
    return overrides


def _auto_retry(words: Sequence[str], result: Translation) -> list[str]:
    more = [f"callbacks.auto_retry.max_retries={words[0]}"] if words else []
    return ["callbacks.auto_retry=true", *more]


def _validator(words: Sequence[str], result: Translation) -> list[str]:
    return [f"validator={words[0] if words else 'baseline'}"]


def _signature(words: Sequence[str], result: Translation) -> list[str]:
    more = [f"signature.key={as_value(words[0])}"] if words else []
    return ["signature=ed25519", *more]


FLAGS: tuple[Flag, ...] = (
    Flag(
        "GPU_info",
        "callbacks.gpu_info",
        "",
        None,
        False,
        _switch("callbacks.gpu_info"),
        "show and record GPU load, memory and temperature",
    ),
    Flag(
        "notification",
        "callbacks.notification",
        "[ADDRESS ...]",
        _URL,
        True,
        _notification,
        "send notifications to these services",
    ),
    Flag(
        "auto_retry",
        "callbacks.auto_retry",
        "[N]",
        _NUMBER,
        False,
        _auto_retry,
        "restart after a failure, at most N times",
    ),
    Flag(
        "report_usage",
        "callbacks.usage_report",
        "",
        None,
        False,
        _switch("callbacks.usage_report"),
        "report device hours, energy and cost",
    ),
    Flag(
        "validator_type",
        "validator",
        "[TYPE]",
        _WORD,
        False,
        _validator,
        "validate the result (default TYPE: baseline)",
    ),
    Flag(
        "signature",
        "signature",
        "[KEY]",
        _KEY,
        False,
        _signature,
        "sign the run with this private key",
    ),
)
