"""`nimble-cli runs`, `show` and `compare`: runs side by side, one alone, and what differs between some."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nimble_lightning.commands.argument_parser import Parser
from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.ops.untrusted_text import cut, printable
from nimble_lightning.report import changed_settings, quantities
from nimble_lightning.report.comparison_page import compared
from nimble_lightning.report.folder_source import Doubts
from nimble_lightning.report.follow_up_commands import commands
from nimble_lightning.report.run_list import ListedRun, find_runs, ordered, varied, where
from nimble_lightning.run_folder import LOCK, LOG, PAGE, STATEMENT
from nimble_lightning.runs.lock import holder

_PLACE = "outputs"
_GAP = "  "
_LONGEST = 40


def runs(words: list[str]) -> int:
    """List the runs below folders."""
    parser = Parser("runs", "List runs: how each ended, when, its figure, and the settings that differ.")
    parser.add_argument("places", metavar="DIR", nargs="*", type=Path, help="[outputs]")
    parser.add_argument("--sort", metavar="NAME", help="a metric, best first; or a setting, largest first")
    parser.add_argument(
        "--where", metavar="'NAME<VALUE'", action="append", default=[], help="only such runs; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="everything of each, for programs")
    asked = parser.read(words)
    found = _found(asked.places or [Path(_PLACE)])
    for condition in asked.where:
        found = where(found, condition)
    by = "newest first"
    if asked.sort:
        found, by = ordered(found, asked.sort)
    if asked.json:
        print(json.dumps([_as_json(run) for run in found], indent=1))
        return 0
    shown = {"run", "status", "started", *(run.objective.metric for run in found if run.objective)}
    names = [name for name in dict.fromkeys([asked.sort, *varied(found)]) if name and name not in shown]
    for line in _fitted(found, names):
        print(printable(line))
    print(f"{len(found)} run{'' if len(found) == 1 else 's'}, {by}")
    return 0


def show(words: list[str]) -> int:
    """Tell what there is to know of one run."""
    parser = Parser("show", "Show one run: how it went, its figures, what was asked, and what to type next.")
    parser.add_argument("run", metavar="RUN", type=Path, help="its folder")
    run = one_run(parser.read(words).run)
    source, facts = run.source, run.facts
    rows = [("status", _status(run) + (f": {facts.message}" if facts.message else ""))]
    rows.append(("trainer", str(source.job.get("trainer", "unknown"))))
    rows.append(("started", _clock(run.started)))
    rows.append(("time", quantities.duration(source.seconds) + _in_attempts(source.attempts)))
    if facts.kwh is not None:
        rows.append(("energy", f"{quantities.number(facts.kwh, 3)} kWh"))
    if run.objective is not None:
        rows.append(("objective", str(run.objective)))
    rows += [(name, quantities.number(value, 6)) for name, value in facts.metrics.items()]
    rows += [(f"params.{name}", value) for name, value in changed_settings.parameters(source.job)]
    rows += [(each.key, each.value) for each in changed_settings.differences(source.job)]
    files = [name for name in (PAGE, LOG, STATEMENT, "best") if (source.folder / name).exists()]
    rows.append(("files", ", ".join(files) or "none"))
    width = max(len(name) for name, _ in rows)
    print(printable(run.name))
    for name, text in rows:
        print(printable(f"  {name:<{width}}  {cut(text, 2000)}"))
    signed = (source.folder / STATEMENT).exists()
    for command in commands(source.job, source.run, source.folder, signed=signed):
        print(printable(f"\n{command.does}:\n  {command.text}"))
    return 0


def compare(words: list[str]) -> int:
    """Show what differs between runs, in their settings and in what they came to."""
    parser = Parser(
        "compare", "Compare runs: settings that differ, figures with the best one marked, curves."
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="their folders, two or more")
    parser.add_argument(
        "--page", metavar="FILE", type=Path, help="write a page with curves on top of each other"
    )
    asked = parser.read(words)
    if len(asked.runs) < 2:
        raise RequestError("compare needs two runs or more: nimble-cli compare RUN RUN")
    found = [one_run(place) for place in asked.runs]
    rows = [("", [run.name for run in found]), ("status", [_status(run) for run in found])]
    for row in compared(found):
        cells = [f"{cell} *" if index in row.best else cell for index, cell in enumerate(row.cells)]
        rows.append((row.name, cells))
    for line in _side_by_side(rows):
        print(printable(line))
    if asked.page is not None:
        from nimble_lightning.report.write_page import build_comparison

        try:
            print(printable(str(build_comparison(found, asked.page))))
        except OSError as error:
            raise NimbleError(f"{asked.page}: the page cannot be written: {error.strerror}") from None
    return 0


def one_run(place: Path) -> ListedRun:
    """The run of a folder.

    Raises:
        RequestError: It is none, or several.
    """
    found = _found([place])
    if len(found) != 1 or found[0].folder != place.resolve():
        many = f" but {len(found)} below it: nimble-cli runs {place}" if found else ""
        raise RequestError(f"{place} is not the folder of a run: there is no run.json in it{many}")
    return found[0]


def _found(places: Sequence[Path]) -> list[ListedRun]:
    doubts = Doubts()
    found = find_runs(places, doubts)
    for name in doubts:
        print(printable(f"left out: {name} is nothing that a run wrote"), file=sys.stderr)
    return found


def _fitted(found: Sequence[ListedRun], names: Sequence[str]) -> list[str]:
    """A line for each run; columns that do not fit the terminal are named below instead."""
    columns = [
        ("run", [run.name for run in found]),
        ("status", [_status(run) for run in found]),
        ("started", [_clock(run.started) for run in found]),
        ("time", [quantities.duration(run.source.seconds) for run in found]),
        ("figure", [_figure(run) for run in found]),
        *((name, [_text(run.fields.get(name)) for run in found]) for name in names),
    ]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else math.inf
    shown: list[tuple[str, list[str]]] = []
    for column in columns:
        width = max(map(len, (column[0], *column[1])))
        room -= width + len(_GAP)
        if shown and room < -len(_GAP):
            break
        shown.append(column)
    lines = [_GAP.join(name.ljust(_width(name, cells)) for name, cells in shown).rstrip()] if found else []
    for index in range(len(found)):
        lines.append(_GAP.join(c[index].ljust(_width(name, c)) for name, c in shown).rstrip())
    if left := [name for name, _ in columns[len(shown) :]]:
        lines.append(f"not shown: {', '.join(left)} (a wider terminal, or --json, has them)")
    return lines


def _side_by_side(rows: Sequence[tuple[str, list[str]]]) -> list[str]:
    first = max(len(name) for name, _ in rows)
    widths = [max(len(cells[index]) for _, cells in rows) for index in range(len(rows[0][1]))]
    return [
        _GAP.join([name.ljust(first), *(c.ljust(w) for c, w in zip(cells, widths, strict=True))]).rstrip()
        for name, cells in rows
    ]


def _width(name: str, cells: Sequence[str]) -> int:
    return max(map(len, (name, *cells)))


def _status(run: ListedRun) -> str:
    """As its record has it; of one that nobody goes on with, that it was interrupted."""
    if run.facts.status != "running":
        return run.facts.status
    held = holder(run.folder / LOCK)
    if held is None:
        return "interrupted"
    return "running" if held.is_here else f"running on {held.host}, or lost"


def _figure(run: ListedRun) -> str:
    chosen = run.objective
    value = run.facts.metrics.get(chosen.metric) if chosen is not None else None
    return "" if chosen is None or value is None else f"{chosen.metric} {quantities.number(value)}"


def _in_attempts(attempts: Sequence[Any]) -> str:
    return f" in {len(attempts)} attempts" if len(attempts) > 1 else ""


def _clock(moment: float | None) -> str:
    """A moment as this machine's clocks have it."""
    return (
        datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M") if moment and moment < 1e11 else "unknown"
    )


def _text(value: Any) -> str:
    if value is None:
        return "-"
    text = quantities.number(value) if isinstance(value, int | float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _as_json(run: ListedRun) -> dict[str, Any]:
    chosen = run.objective
    return {
        "folder": str(run.folder),
        "status": _status(run),
        "message": run.facts.message,
        "started": run.started,
        "seconds": run.source.seconds,
        "kwh": run.facts.kwh,
        "objective": chosen.to_json() if chosen is not None else None,
        "metrics": dict(run.facts.metrics),
        "settings": dict(run.facts.settings),
    }
