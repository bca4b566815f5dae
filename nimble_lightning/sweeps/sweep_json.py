"""What a sweep came to: sweep.json for scripts, and which member is best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nimble_lightning.ops.exit_codes import STOPPED, TRAINED
from nimble_lightning.ops.objective import WAYS, Objective, from_json
from nimble_lightning.run_folder import SWEEP, make_private
from nimble_lightning.sweeps.outcomes import MemberOutcome

_STATUS: dict[int, str] = {**dict.fromkeys(TRAINED, "finished"), **dict.fromkeys(STOPPED, "stopped")}


def write(sweep: Path, outcomes: Sequence[MemberOutcome], objectives: Sequence[Objective], code: int) -> Path:
    """Write the summary into a sweep's folder.

    Args:
        sweep: The folder.
        outcomes: Of all its jobs.
        objectives: The figures that say which is best.
        code: What the command exits with.
    """
    from nimble_lightning.ops.run_files import write_json

    members = [_member(outcome) for outcome in outcomes]
    content = {
        "sweep_id": sweep.name,
        "name": sweep.parent.name,
        "status": _STATUS.get(code, "failed"),
        "exit_code": code,
        "objectives": {each.metric: WAYS[each.mode] for each in objectives if each.mode is not None},
        "reason": "; ".join(each.reason for each in objectives),
        "best": best(members, objectives),
        "members": members,
    }
    write_json(sweep / SWEEP, content)
    make_private(sweep)
    return sweep / SWEEP


def judged_by(outcomes: Sequence[MemberOutcome]) -> list[Objective]:
    """What members say that they are judged by; of one direction only where they agree."""
    from nimble_lightning.ops.run_files import read_json
    from nimble_lightning.run_folder import RunFolder

    records = (read_json(RunFolder(outcome.folder).run) for outcome in outcomes)
    found = list(dict.fromkeys(o for record in records if (o := from_json(record.get("best"))) is not None))
    if len({(each.metric, each.mode) for each in found}) < 2:
        return found[:1]
    names = " or ".join(dict.fromkeys(each.metric for each in found))
    return [Objective(names, None, "on which the members do not agree, type monitor=NAME")]


def best(members: Sequence[Mapping[str, Any]], objectives: Sequence[Objective]) -> list[int]:
    """The jobs of which no other is better in all objectives; the best one where there is one objective."""
    if not objectives or any(each.mode is None for each in objectives):
        return []
    ranks = {
        member["job"]: [each.rank(member["metrics"].get(each.metric, math.nan)) for each in objectives]
        for member in members
        if member["status"] == "finished"
    }
    whole = {job: [r for r in found if r is not None] for job, found in ranks.items() if None not in found}
    return [job for job, found in whole.items() if not any(_better(other, found) for other in whole.values())]


def said(outcomes: Sequence[MemberOutcome], objectives: Sequence[Objective]) -> list[str]:
    """By which figures members are judged, and which of them are best, for people."""
    lines = [f"objective: {each}" for each in objectives]
    members = {outcome.number: _member(outcome) for outcome in outcomes}
    found = best(list(members.values()), objectives)
    # By one figure they are equally good, by several each is best in a way of its own.
    shown = found[:1] if len(objectives) == 1 else found
    for job in shown:
        metrics, words = members[job]["metrics"], " ".join(members[job]["overrides"])
        figures = "  ".join(f"{each.metric}={metrics[each.metric]:.6g}" for each in objectives)
        lines.append(f"best: job {job}  {figures}  {words}".rstrip())
    if more := found[len(shown) :]:
        lines[-1] += f"  (and as good: job {', '.join(map(str, more))})"
    return lines


def _better(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one is nowhere worse and somewhere better; the lower the better."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


def _member(outcome: MemberOutcome) -> dict[str, Any]:
    from nimble_lightning.ops.run_files import read_json
    from nimble_lightning.run_folder import RunFolder

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
