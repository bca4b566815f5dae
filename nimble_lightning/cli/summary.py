"""sweep.json: what a sweep came to, for scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nimble_lightning.cli.outcomes import Outcome
from nimble_lightning.ops.figures import direction

FILE = "sweep.json"
_STATUS = {0: "finished", 3: "finished", 130: "stopped", 143: "stopped"}


def write(sweep: Path, outcomes: Sequence[Outcome], objectives: Mapping[str, str], code: int) -> Path:
    """Write the summary into a sweep's folder.

    Args:
        sweep: The folder.
        outcomes: Of all its jobs.
        objectives: The figures that say which is best, each with minimize or maximize.
        code: What the command exits with.
    """
    from nimble_lightning.runtime.folder import make_private, write_json

    members = [_member(outcome) for outcome in outcomes]
    content = {
        "sweep_id": sweep.name,
        "name": sweep.parent.name,
        "status": _STATUS.get(code, "failed"),
        "exit_code": code,
        "objectives": dict(objectives),
        "best": best(members, objectives),
        "members": members,
    }
    write_json(sweep / FILE, content)
    make_private(sweep)
    return sweep / FILE


def objectives_of(outcomes: Sequence[Outcome], mode: str | None) -> dict[str, str]:
    """The monitored figure, and which way is better."""
    name = next((outcome.metric[0] for outcome in outcomes if outcome.metric), None)
    if name is None:
        return {}
    return {name: "minimize" if (mode or direction(name)) == "min" else "maximize"}


def best(members: Sequence[Mapping[str, Any]], objectives: Mapping[str, str]) -> list[int]:
    """The jobs of which no other is better in all objectives; the best one where there is one objective."""
    reached = {
        member["job"]: [
            member["metrics"][name] * (1 if way == "minimize" else -1) for name, way in objectives.items()
        ]
        for member in members
        if member["status"] == "finished" and objectives.keys() <= member["metrics"].keys()
    }
    numbers = {job: values for job, values in reached.items() if all(value == value for value in values)}
    return [
        job
        for job, values in numbers.items()
        if values and not any(_better(other, values) for other in numbers.values())
    ]


def _better(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one is nowhere worse and somewhere better; all are minimized."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


def _member(outcome: Outcome) -> dict[str, Any]:
    from nimble_lightning.runtime.folder import RunFolder, read_json

    run = read_json(RunFolder(outcome.folder).run)
    return {
        "job": outcome.number,
        "run_id": run.get("run_id"),
        "overrides": outcome.overrides,
        "status": outcome.status,
        "exit_code": outcome.exit_code,
        "message": outcome.message,
        "metrics": run.get("metrics") or {},
        "seconds": outcome.seconds,
        "attempts": [
            {name: attempt.get(name) for name in ("cause", "reason", "first_step", "last_step")}
            for attempt in run.get("attempts") or []
        ],
        "folder": outcome.folder.name,
    }
