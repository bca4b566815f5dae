"""Why an attempt ended, told from exit codes and the error files of its ranks."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any, Literal

from nimble_lightning.runtime.folder import RunFolder, read_json

Cause = Literal["finished", "killed", "stopped", "config", "deterministic", "memory", "transient"]

# Raised by wrong code or a wrong request: the same again would end the same.
_USERS_FAULT = {"RequestError", "TrainerError", "SyntaxError", "ImportError", "NameError", "AttributeError", "TypeError", "ValueError",
                "KeyError", "IndexError", "AssertionError", "NotImplementedError", "MisconfigurationException"}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        cause: The class of the reason.
        reason: One line for people.
        rank: The rank that failed first.
        step: The last step it reached, where known.
        fingerprint: Equal for failures that are the same.
    """

    cause: Cause
    reason: str = ""
    rank: int | None = None
    step: int | None = None
    fingerprint: str = ""


def judge(folder: RunFolder, attempt: int, exit_codes: dict[int, int], trouble: str | None) -> Outcome:
    """Put the evidence together; the error written first is the one that counts, the others are its consequences."""
    if folder.finished.exists():
        return Outcome("finished")
    if trouble:
        return Outcome("transient", f"the workers could not be started: {trouble}", fingerprint=trouble)
    errors = sorted(_errors(folder, attempt), key=lambda e: e["time"])
    killed = {rank: -code for rank, code in exit_codes.items() if code < 0 and -code != signal.SIGTERM}
    real = [e for e in errors if not _is_consequence(e)]
    if real:
        return _from_error(real[0])
    if killed:
        rank, number = next(iter(killed.items()))
        name = signal.Signals(number).name
        return Outcome("killed", f"rank {rank} was killed by {name}", rank, fingerprint=f"killed by {name}")
    if any(e["type"] in ("SIGTERMException", "SystemExit") for e in errors) or 143 in exit_codes.values():
        return Outcome("stopped", "stopped by SIGTERM")
    if errors:
        return _from_error(errors[0])
    return Outcome("killed", f"the workers ended without a word (exit codes {exit_codes})", fingerprint=f"silent {sorted(exit_codes.values())}")


def _from_error(error: dict[str, Any]) -> Outcome:
    name, message = error["type"], (error["message"] or "").strip()
    first = message.splitlines()[0] if message else ""
    reason = f"{name}: {first}" if first else name
    cause: Cause = "transient"
    if name == "RequestError":
        cause = "config"
    elif "OutOfMemoryError" in error["bases"] or name == "MemoryError":
        cause = "memory"
    elif _USERS_FAULT & set(error["bases"]):
        cause = "deterministic"
    return Outcome(cause, reason, error["rank"], error["step"], fingerprint=f"{name} {first} at {error['step']}")


def _errors(folder: RunFolder, attempt: int) -> list[dict[str, Any]]:
    found = [read_json(path) for path in folder.errors.glob(f"attempt-{attempt}.rank-*.json")]
    return [e for e in found if e]


def _is_consequence(error: dict[str, Any]) -> bool:
    """What a rank says when another one is gone, or when it was asked to stop."""
    text = error["message"].lower()
    return error["type"] in ("SIGTERMException", "SystemExit", "DistBackendError", "DistNetworkError") or any(
        words in text for words in ("connection closed by peer", "connection reset by peer", "gloo", "socket timeout", "broken pipe")
    )
