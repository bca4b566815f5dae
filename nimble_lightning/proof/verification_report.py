"""What a verification found, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One thing that does not hold.

    Attributes:
        kind: signature, key, statement, missing, extra, altered, size, renamed, swapped, rolled_back, link,
            chain, run, step, attempt or replay.
        file: Its path in the run folder; "" where it is no single file.
        text: What is wrong, for people.
    """

    kind: str
    file: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.text}" if self.file else self.text


@dataclass
class Report:
    """The outcome of a verification.

    Attributes:
        problems: Everything that does not hold.
        claims: What the statement says about the run; empty until its signature held.
        files: How many files were read and compared.
        bytes: How much that was.
        replays: What was trained again, and with what result.
        notes: What a reader should know besides.
    """

    problems: list[Problem] = field(default_factory=list)
    claims: Mapping[str, Any] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0
    replays: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        return not self.problems

    def add(self, kind: str, file: str, text: str) -> None:
        self.problems.append(Problem(kind, file, text))

    def to_json(self) -> dict[str, Any]:
        return {
            "verified": self.verified,
            "run_id": self.claims.get("run_id"),
            "step": self.claims.get("step"),
            "attempt": len(self.claims.get("attempts", ())),
            "problems": [asdict(problem) for problem in self.problems],
            "files": self.files,
            "bytes": self.bytes,
            "replays": self.replays,
            "notes": self.notes,
            "claims": dict(self.claims),
        }

    def lines(self) -> list[str]:
        """For a terminal."""
        found = [f"  {problem}" for problem in self.problems]
        for replay in self.replays:
            found.append(f"  replayed steps {replay['from']} to {replay['to']}: {replay['text']}")
        found += [f"  {note}" for note in self.notes]
        if not self.verified:
            return [f"NOT VERIFIED: {_number(self.problems)}", *found]
        claims = self.claims
        head = f"verified: run {claims['run_id']}, {claims.get('status')}, step {claims['step']}"
        return [f"{head}, {self.files} files, {self.bytes:,} bytes", *found]


def _number(problems: list[Problem]) -> str:
    return "one thing does not hold" if len(problems) == 1 else f"{len(problems)} things do not hold"
