"""An account sent to where the user asked for it, and nowhere else."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from nimble_lightning.errors import RequestError

SECONDS = 2.0


def check(address: str) -> None:
    """Refuse what cannot be posted to.

    Raises:
        RequestError: It is no address; it is not repeated, since it may hold a secret.
    """
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RequestError(
            "report_to is no address to post to. Give one such as https://usage.example.org/runs."
        )


def post(address: str, usage: Mapping[str, Any], seconds: float = SECONDS) -> str | None:
    """Send an account as JSON; returns why it did not arrive, or None. Takes no longer than asked."""
    answer: list[str | None] = []
    # A time-out of the socket's starts anew with every byte; a thread can be left behind.
    thread = threading.Thread(
        target=lambda: answer.append(_post(address, usage, seconds)), name="nimble-report", daemon=True
    )
    thread.start()
    thread.join(seconds)
    return answer[0] if answer else f"no answer within {seconds:g} s"


def _post(address: str, usage: Mapping[str, Any], seconds: float) -> str | None:
    request = urllib.request.Request(
        address, json.dumps(usage).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=seconds):
            return None
    except urllib.error.HTTPError as error:
        return f"answered {error.code}"
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return getattr(reason, "strerror", None) or type(reason).__name__
