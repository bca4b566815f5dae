"""What those who run a job have to know of its callbacks. The rest of a block is for its class alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from nimble_lightning.settings.fields import Block, read

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class RetrySettings:
    """The supervisor's part of `callbacks.auto_retry`."""

    max_retries: int = 5
    """Starts in a row, besides the first, of a run that gets no further."""

    hang_seconds: float | Literal["auto"] | None = "auto"
    """A step longer than this is a hang; "auto" learns it from the steps; None: no hang."""

    max_time_per_run: float | str | None = None
    """Time for one start of the command."""

    max_time: float | str | None = None
    """Time for all starts of the run together."""


@dataclass(frozen=True, kw_only=True)
class NotificationSettings:
    """What the sender of `callbacks.notification` is told."""

    urls: Any = None
    """Addresses, or references to them; None: what NIMBLE_NOTIFICATION_URLS holds."""

    events: Any = None
    """The kinds of event that are told, or for each tag those that go there; None: all."""

    templates: str | None = None
    """A folder of templates to be used instead of the shipped ones."""

    pictures: bool = True
    """Whether a finished run sends its curve and first samples too."""

    linger: float | str | None = "5m"
    """How long after the end delivery is tried."""


@dataclass(frozen=True, kw_only=True)
class UsageSettings:
    """On what the account of `callbacks.usage_report` is based, and where it goes."""

    prices: Mapping[str, Any] | None = None
    """What is paid: `gpu_hour`, `kwh` and `currency`."""

    grid: float | str | None = None
    """Grams of CO2e for a kilowatt-hour, or a country; None: unknown."""

    pue: float | None = 1.0
    """What the building takes for each kilowatt-hour of its computers."""

    peak_flops: float | None = None
    """What one device can do in a second; None: from a table, or unknown."""

    report_to: str | None = None
    """The address the account is sent to when the run has ended."""


@dataclass(frozen=True, kw_only=True)
class HubPushSettings:
    """Where `callbacks.hub_push` has a finished run's exports pushed."""

    repo: str | None = None
    """OWNER/NAME."""

    private: bool | None = None
    """None: as the account has it."""


@dataclass(frozen=True, kw_only=True)
class CallbackSettings:
    """The callbacks of a run. One that is off is None."""

    blocks: Any = None
    """What is made of their classes, by name: it goes to Lightning."""

    auto_retry: RetrySettings | None = None
    notification: NotificationSettings | None = None
    usage_report: UsageSettings | None = None
    hub_push: HubPushSettings | None = None

    def block(self, name: str) -> Block:
        """The block of one, as its class gets it; None where it is off."""
        return self.blocks.get(name) if isinstance(self.blocks, Mapping) else None

    @classmethod
    def from_blocks(cls, blocks: Any) -> CallbackSettings:
        """The same from the blocks of a composed configuration."""
        named = blocks if isinstance(blocks, Mapping) else {}

        def part(name: str, kind: type[_T]) -> _T | None:
            return read(kind, named[name]) if isinstance(named.get(name), Mapping) else None

        return cls(
            blocks=blocks,
            auto_retry=part("auto_retry", RetrySettings),
            notification=part("notification", NotificationSettings),
            usage_report=part("usage_report", UsageSettings),
            hub_push=part("hub_push", HubPushSettings),
        )
