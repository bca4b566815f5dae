"""Some runs beside each other: what differs in what was asked, what each came to, and their curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nimble_lightning.report import chart_panels, quantities
from nimble_lightning.report.charts.plot import Across, Line, Plot
from nimble_lightning.report.curves import Curve, read_curves
from nimble_lightning.report.folder_source import Doubts
from nimble_lightning.report.metrics_csv import read_table
from nimble_lightning.report.run_list import ListedRun, ordered, varied


@dataclass(frozen=True)
class ComparedRow:
    """A line of the table: what each run has of something.

    Attributes:
        name: What it is.
        cells: One for each run, as people read it.
        best: The numbers of those that are best in it; none where nobody knows, or all are alike.
    """

    name: str
    cells: list[str]
    best: frozenset[int] = frozenset()


def compared(found: Sequence[ListedRun]) -> list[ComparedRow]:
    """What differs between runs: their settings, then their figures, then what they took."""
    rows = [
        ComparedRow(name, [_text(run.facts.settings.get(name)) for run in found]) for name in varied(found)
    ]
    for name in dict.fromkeys(name for run in found for name in run.facts.metrics):
        values = [run.facts.metrics.get(name) for run in found]
        rows.append(ComparedRow(name, [_text(value) for value in values], _best(found, name)))
    rows.append(ComparedRow("time", [quantities.duration(run.source.seconds) for run in found]))
    if any(run.facts.kwh is not None for run in found):
        rows.append(ComparedRow("kWh", [_text(run.facts.kwh) for run in found]))
    return rows


def content(found: Sequence[ListedRun]) -> dict[str, Any]:
    """What the template `comparison.html` shows."""
    doubts = Doubts()
    shown = found[: chart_panels.MOST_LINES]
    curves = [doubts.unless("curves", lambda run=run: _curves(run), {}) for run in shown]  # type: ignore[misc]
    names = sorted({name for each in curves for name in each}, key=lambda name: ("loss" not in name, name))
    return {
        "doubts": doubts,
        "name": f"{len(found)} runs",
        "status": "",
        "runs": [(run.name, run.facts.status) for run in found],
        "rows": compared(found),
        "charts": [_plot(name, shown, curves) for name in names[: chart_panels.MOST_PANELS]],
        "without_curves": len(found) - len(shown),
        "without_chart": names[chart_panels.MOST_PANELS :],
    }


def _curves(run: ListedRun) -> dict[str, Curve]:
    path = run.source.metrics
    if path is None:
        return {}
    return read_curves(path) if path.suffix == ".jsonl" else read_table(path)


def _plot(name: str, found: Sequence[ListedRun], curves: Sequence[dict[str, Curve]]) -> Plot:
    lines = [
        Line(run.name, each[name].buckets, colour)
        for colour, (run, each) in enumerate(zip(found, curves, strict=True))
        if name in each
    ]
    return Plot(name, lines, across=Across())


def _best(found: Sequence[ListedRun], name: str) -> frozenset[int]:
    having = [run for run in found if name in run.facts.metrics]
    first, by = ordered(having, name)
    best = first[0].facts.metrics[name]
    numbers = frozenset(index for index, run in enumerate(found) if run.facts.metrics.get(name) == best)
    return numbers if "better" in by and len(numbers) < len(having) else frozenset()


def _text(value: Any) -> str:
    return "–" if value is None else quantities.number(value)
