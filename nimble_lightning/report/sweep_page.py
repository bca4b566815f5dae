"""The page of a sweep: everything its template needs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from nimble_lightning.report import quantities
from nimble_lightning.report.charts.parallel import Parallel, Strand
from nimble_lightning.report.charts.scale import is_number
from nimble_lightning.report.charts.scatter import Dot, Scatter
from nimble_lightning.report.sweep_members import SweepFolder, SweepMember

MOST_ROWS = 500
_MOST_AXES = 8
_MOST_STRANDS = 1000
_LONGEST_NAME = 28


def content(sweep: SweepFolder) -> dict[str, Any]:
    """What the template `sweep.html` shows."""
    ranked = sweep.ranked()
    reached = [member for member in ranked if sweep.value(member) is not None]
    # Where nobody knows which way is better they are drawn all the same, and none is best.
    best = reached[0] if reached and sweep.rank(reached[0]) is not None else None
    varied = sweep.varied[:_MOST_AXES]
    return {
        "doubts": sweep.doubts,
        "name": sweep.name,
        "folder": sweep.folder.name,
        "status": _status(ranked),
        "metric": sweep.metric,
        "objective": sweep.objective,
        "best": best,
        "best_value": quantities.number(sweep.value(best)) if best is not None else "",
        "varied": varied,
        "common": _prefix(varied),
        "members": [_row(sweep, member, varied) for member in ranked[:MOST_ROWS]],
        "omitted": max(0, len(ranked) - MOST_ROWS),
        "counts": sorted(Counter(member.status for member in ranked).items()),
        "parallel": sweep.doubts.unless("drawings", lambda: _parallel(sweep, reached, varied), None),
        "scatters": sweep.doubts.unless("drawings", lambda: _scatters(sweep, reached, varied), []),
        "with_kwh": any(member.kwh is not None for member in ranked),
        "total": _total(ranked),
    }


def _status(members: list[SweepMember]) -> str:
    """The worst of any member."""
    found = {member.status for member in members}
    return next((s for s in ("running", "failed", "stopped", "finished") if s in found), "")


def _row(sweep: SweepFolder, member: SweepMember, varied: list[str]) -> dict[str, Any]:
    value = sweep.value(member)
    return {
        "folder": member.folder,
        "link": member.link,
        "status": member.status,
        "message": member.message,
        "settings": [
            (quantities.number(given) if given is not None else "", given if is_number(given) else "")
            for given in (member.settings.get(name) for name in varied)
        ],
        "value": quantities.number(value) if value is not None else "",
        "sort": "" if value is None else repr(value),
        "duration": quantities.duration(member.seconds) if member.seconds is not None else "",
        "seconds": member.seconds,
        "kwh": quantities.number(member.kwh, 3) if member.kwh is not None else "",
    }


def _parallel(sweep: SweepFolder, reached: list[SweepMember], varied: list[str]) -> Parallel | None:
    if len(varied) < 2 or len(reached) < 2:
        return None
    strands = [
        Strand(
            [*(m.settings.get(name) for name in varied), sweep.value(m)],
            _place(k, sweep, reached),
            _told(sweep, m),
        )
        for k, m in enumerate(reached[:_MOST_STRANDS])
    ]
    return Parallel([*(_short(name, varied) for name in varied), _short(str(sweep.metric), varied)], strands)


def _scatters(sweep: SweepFolder, reached: list[SweepMember], varied: list[str]) -> list[Scatter]:
    if len(reached) < 2:
        return []
    found = []
    for name in varied:
        dots = [
            Dot(m.settings.get(name), value, _place(k, sweep, reached), _told(sweep, m))
            for k, m in enumerate(reached[:_MOST_STRANDS])
            if (value := sweep.value(m)) is not None
        ]
        found.append(Scatter(_short(name, varied), str(sweep.metric), dots))
    return found


def _place(number: int, sweep: SweepFolder, reached: list[SweepMember]) -> float:
    """From 0 of the best to 1; all are drawn alike where nobody knows what is better."""
    known = sweep.rank(reached[number]) is not None
    return number / max(1, len(reached) - 1) if known else 0.0


def _told(sweep: SweepFolder, member: SweepMember) -> str:
    settings = ", ".join(f"{name}={quantities.number(member.settings.get(name))}" for name in sweep.varied)
    return f"{member.folder}: {sweep.metric} {quantities.number(sweep.value(member))} with {settings}"


def _prefix(varied: list[str]) -> str:
    """`params.`, where everything that varies is a parameter of the trainer's."""
    return "params." if varied and all(name.startswith("params.") for name in varied) else ""


def _short(name: str, varied: list[str]) -> str:
    short = name.removeprefix(_prefix(varied))
    return short if len(short) <= _LONGEST_NAME else f"{short[:_LONGEST_NAME]}…"


def _total(members: list[SweepMember]) -> list[tuple[str, str]]:
    seconds = sum(member.seconds or 0.0 for member in members)
    kwh = [member.kwh for member in members if member.kwh is not None]
    found = [("time of all members", quantities.duration(seconds))]
    return [*found, ("energy", f"{quantities.number(sum(kwh), 3)} kWh")] if kwh else found
