"""What shall go wrong, when and where: read from one line of text.

`kill@step=7,attempt=1; raise@step=9,rank=1; enospc@save=replace; hang@step=5,p=0.2`
"""

from __future__ import annotations

import builtins
import hashlib
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from nimble_lightning.checkpoint.fault_points import STAGES
from nimble_lightning.errors import RequestError

# Errors of the disk, which only a save meets; the rest may strike in a step or in a save.
DISK = ("enospc", "eio", "eperm", "erofs")
IN_STEP = ("oom", "nan")
ANYWHERE = ("raise", "kill", "term", "stop", "hang", "spin")
KINDS = (*ANYWHERE, *IN_STEP, *DISK)


class Occasion(NamedTuple):
    """A moment at which something may go wrong; `save` is a stage of a save, None in a step."""

    attempt: int
    rank: int
    step: int
    save: str | None = None


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: `raise` an exception; `kill` by SIGKILL; `term` by SIGTERM, as a scheduler would; `stop` by
            SIGSTOP; `hang` in a deadlock; `spin` in a busy loop that no signal handler interrupts; `oom` and
            `nan` in the backward pass; `enospc`, `eio`, `eperm`, `erofs` from the disk.
        step: When so many optimizer steps are done, in the next one; None means in any.
        save: At this stage of a save (`nimble_lightning.checkpoint.fault_points`); None means in training.
        attempt: In this start of the run only.
        rank: On this rank only.
        p: How likely each occasion is taken. Ranks decide alike unless one of them is named.
        times: How many occasions are taken at most, in each process.
        error: Which built-in exception `raise` raises.
    """

    kind: str
    step: int | None = None
    save: str | None = None
    attempt: int | None = None
    rank: int | None = None
    p: float = 1.0
    times: int = 1
    error: str = "RuntimeError"

    def __post_init__(self) -> None:
        _require(self.kind, "fault", KINDS)
        if self.save is not None:
            _require(self.save, "stage of a save", STAGES)
        _require_place(self)
        least = {"step": 0, "attempt": 1, "rank": 0, "times": 1}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise RequestError(f"{name}={value} in a fault: expected {smallest} or more.")
        if not 0.0 <= self.p <= 1.0:
            raise RequestError(f"p={self.p} in a fault: expected a probability, from 0 to 1.")
        if exception(self.error) is None:
            raise RequestError(
                f"error={self.error} in a fault: expected a built-in exception such as ValueError."
            )

    def strikes(self, now: Occasion, seed: int = 0) -> bool:
        """Whether this is the occasion, and chance agrees; the same question has the same answer."""
        wanted = ((self.step, now.step), (self.attempt, now.attempt), (self.rank, now.rank))
        if self.save != now.save or any(want is not None and want != there for want, there in wanted):
            return False
        return self.p >= 1.0 or _draw(seed, str(self), now.attempt, now.step) < self.p

    def __str__(self) -> str:
        given = [
            f"{f.name}={getattr(self, f.name)}"
            for f in fields(self)[1:]
            if getattr(self, f.name) != f.default
        ]
        return f"{self.kind}@{','.join(given)}" if given else self.kind


def parse(text: str) -> tuple[Fault, ...]:
    """Read `kind@key=value,key=value; kind@...`; a RequestError says what cannot be read."""
    return tuple(_one(part.strip()) for part in text.split(";") if part.strip())


def exception(name: str) -> type[Exception] | None:
    """The built-in exception of that name."""
    found = getattr(builtins, name, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _one(text: str) -> Fault:
    kind, _, rest = text.partition("@")
    values: dict[str, Any] = {}
    for pair in rest.split(",") if rest.strip() else []:
        name, equals, value = (part.strip() for part in pair.partition("="))
        read = _READERS.get(name)
        if read is None or not equals:
            raise RequestError(
                f"{pair.strip()!r} in the fault {text!r}: expected key=value, "
                f"the key one of {', '.join(_READERS)}."
            )
        if name in values:
            raise RequestError(f"{name} is given twice in the fault {text!r}.")
        try:
            values[name] = read(value)
        except ValueError:
            raise RequestError(f"{name}={value} in the fault {text!r}: expected a number.") from None
    return Fault(kind.strip(), **values)


_READERS: dict[str, Any] = {
    "step": int, "save": str, "attempt": int, "rank": int, "p": float, "times": int, "error": str
}  # fmt: skip


def _require(value: str, what: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise RequestError(f"{value!r} is no {what}. Choose one of {', '.join(choices)}.")


def _require_place(fault: Fault) -> None:
    if fault.kind in DISK and fault.save is None:
        raise RequestError(
            f"{fault.kind} comes from the disk, so say at which stage of a save: {fault.kind}@save=half."
        )
    if fault.kind in IN_STEP and fault.save is not None:
        raise RequestError(f"{fault.kind} happens in a step, not in a save: {fault.kind}@step=3.")


def _draw(*keys: Any) -> float:
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
