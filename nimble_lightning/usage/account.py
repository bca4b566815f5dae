"""The account of a run: all its attempts and ranks put together, and the files it is in."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nimble_lightning.ops import plain_files
from nimble_lightning.run_folder import EMISSIONS, USAGE
from nimble_lightning.usage import totals
from nimble_lightning.usage.attempt_times import CAUSES, RETRY, Span, spans, split, useful_steps, waits
from nimble_lightning.usage.carbon import grid_of
from nimble_lightning.usage.external_formats import co2_eq_emissions, emissions_csv
from nimble_lightning.usage.figures import Figure, figure
from nimble_lightning.usage.prices import UsageTerms
from nimble_lightning.usage.rank_record import RankRecord, attempts

SCHEMA = "nimble_lightning.usage/1"


@dataclass(frozen=True)
class UsageSubject:
    """What an account is of.

    Attributes:
        run_id: Of the run.
        name: Of what was trained; the project that usage is summed by.
        recorded: The attempts as a supervisor saw them; empty where there is none.
        ranks: Devices an attempt held that ended before it told.
        final: Whether the run has ended.
    """

    run_id: str
    name: str
    recorded: Sequence[Mapping[str, Any]] = field(default_factory=list)
    ranks: int = 1
    final: bool = False


def account(subject: UsageSubject, found: Sequence[RankRecord], terms: UsageTerms) -> dict[str, Any]:
    """The content of usage.json, from what each process told and what was seen from outside."""
    of_run = spans(subject.recorded, found)
    by_attempt = attempts(found)
    useful = useful_steps(of_run)
    seconds = _time(of_run, by_attempt, useful)
    held = {span.number: span.length * _ranks(by_attempt.get(span.number, []), subject) for span in of_run}
    device_seconds = sum(held.values())
    energy = totals.energy(found, terms.pue)
    wall = sum(seconds.values())
    content = {
        "schema": SCHEMA,
        "run_id": subject.run_id,
        "name": subject.name,
        "user": next((piece.user for piece in found if piece.user), ""),
        "hosts": sorted({piece.host for piece in found if piece.host}),
        "final": subject.final,
        "started": min((span.start for span in of_run), default=None),
        "ended": max((span.end for span in of_run), default=None),
        "attempts": len(of_run),
        "devices": _devices(found, subject),
        "wall_seconds": round(wall, 3),
        "device_seconds": round(device_seconds, 3),
        "goodput": round(seconds["step"] / wall, 4) if wall and any(useful.values()) else None,
        "time": {cause: round(value, 3) for cause, value in seconds.items()},
        "steps": sum(useful.values()),
        "lost_steps": sum(span.last_step - span.first_step - useful[span.number] for span in of_run),
        "uncounted_steps": sum(count for number, count in useful.items() if number not in by_attempt),
        "samples": round(sum(piece.samples * _counting(piece, useful) for piece in found)),
        "tokens": totals.tokens(found, lambda piece: _counting(piece, useful)),
        "flops": totals.flops(found),
        "mfu": totals.mfu(found),
        "peak_memory_bytes": max((piece.peak_memory or 0 for piece in found), default=0) or None,
        "energy_kwh": energy,
        "pue": terms.pue,
        "cost": totals.cost(terms.prices, device_seconds, energy["total"]),
        "co2e_kg": totals.carbon(terms.grid, energy["total"]),
        "grid": _grid(terms),
    }
    left = None if subject.final else to_go(content, by_attempt)
    return {**content, "co2_eq_emissions": co2_eq_emissions(content), "to_go": left}


def to_go(
    content: Mapping[str, Any], by_attempt: Mapping[int, Sequence[RankRecord]]
) -> dict[str, Any] | None:
    """What is left if it goes on as in this attempt so far: seconds, energy and cost."""
    last = next(iter(by_attempt.get(max(by_attempt, default=0), [])), None)
    if last is None or not last.total or not last.done:
        return None
    pace = (last.length - last.seconds.get("start", 0.0)) / last.done
    left = max(0, last.total - last.done) * pace
    devices = sum(device["count"] for device in content["devices"])
    growth = left * devices / content["device_seconds"] if content["device_seconds"] else 0.0
    spent = {"energy_kwh": content["energy_kwh"]["total"], "cost": content["cost"]["amount"]}
    return {
        "seconds": figure(
            round(left, 1), "estimated", f"{last.done} of {last.total} batches of this fit are done"
        ),
        **{name: _grown(found, growth) for name, found in spent.items()},
    }


def _grown(found: Figure, growth: float) -> Figure:
    value = found["value"]
    return figure(None if value is None else value * growth, "estimated", "as much an hour as up to now")


def _time(
    of_run: Sequence[Span], by_attempt: Mapping[int, Sequence[RankRecord]], useful: Mapping[int, int]
) -> dict[str, float]:
    parts = [split(span, by_attempt.get(span.number, []), useful[span.number]) for span in of_run]
    seconds = {cause: sum(part[cause] for part in parts) for cause in CAUSES}
    seconds[RETRY] += waits(of_run)
    return seconds


def _ranks(found: Sequence[RankRecord], subject: UsageSubject) -> int:
    return max((piece.world_size for piece in found), default=subject.ranks)


def useful_share(piece: RankRecord, useful: Mapping[int, int]) -> float:
    """From what a process had told of to what counts: less what was done again, more what it did unheard."""
    return useful.get(piece.attempt, piece.steps) / piece.steps if piece.steps else 1.0


def _counting(piece: RankRecord, useful: Mapping[int, int]) -> float:
    """The same for samples, of which ranks that share a layer have each told."""
    return useful_share(piece, useful) / piece.sharing


def _devices(found: Sequence[RankRecord], subject: UsageSubject) -> list[dict[str, Any]]:
    """Those of the attempt with the most."""
    counts = [Counter(piece.device for piece in group) for group in attempts(found).values()]
    most = max(counts, key=lambda count: count.total(), default=Counter({"unknown": subject.ranks}))
    return [{"name": name, "count": count} for name, count in most.items()]


def _grid(terms: UsageTerms) -> dict[str, Any] | None:
    grid = grid_of(terms.grid)
    if grid is None:
        return None
    return {"g_per_kwh": grid.grams, "code": grid.code, "country": grid.country, "note": grid.note}


def save_account(folder: Path, usage: Mapping[str, Any]) -> None:
    """Write the account; of a run that has ended, its row of emissions.csv as well.

    Raises:
        OSError: It could not be written.
    """
    plain_files.replace(folder / USAGE, f"{json.dumps(usage, indent=2)}\n".encode(), flush=False)
    if usage["final"]:
        plain_files.replace(folder / EMISSIONS, emissions_csv(usage).encode(), flush=False)


def _load(path: Path) -> dict[str, Any] | None:
    """The account in a file; None for anything else."""
    content = plain_files.read_json(path.parent, path.name)
    known = isinstance(content, dict) and str(content.get("schema", "")).startswith("nimble_lightning.usage/")
    return content if known else None


def find_accounts(places: Iterable[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every account at or below some places, each once."""
    seen = set()
    for place in places:
        files = [place] if place.is_file() else sorted(place.rglob(USAGE))
        for path in files:
            if path.resolve() not in seen and (usage := _load(path)) is not None:
                seen.add(path.resolve())
                yield path, usage
