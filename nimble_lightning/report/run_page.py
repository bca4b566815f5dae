"""The page of one run: everything its template needs, from the folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nimble_lightning.ops.objective import from_json
from nimble_lightning.report import (
    attempt_list,
    changed_settings,
    chart_panels,
    follow_up_commands,
    hardware,
    quantities,
    samples,
    shipped_defaults,
    usage_section,
)
from nimble_lightning.report.charts.scale import is_number
from nimble_lightning.report.curves import Curve, read_curves
from nimble_lightning.report.folder_source import Doubts, FolderSource
from nimble_lightning.report.metrics_csv import read_table

_MOST_FIGURES = 4
_MOST_FACTS = 40
_NOT_ASKED = "none asked"
_RECORDED = {"code": "Code", "data": "Data", "hardware": "Hardware", "environment": "Environment"}


@dataclass(frozen=True)
class Headline:
    """A figure in large type."""

    name: str
    text: str
    note: str = ""


def content(source: FolderSource) -> dict[str, Any]:
    """What the template `run.html` shows."""
    run, job = source.run, source.job
    doubts = Doubts()
    curves = doubts.unless("curves", lambda: _curves(source), {})
    attempts = source.attempts
    began = _began(run, attempts)
    events = doubts.unless("events", lambda: chart_panels.step_marks(attempts, source.events), [])
    charts, listed = doubts.unless("curves", lambda: chart_panels.plots(curves, events), ([], []))
    times = doubts.unless("attempts", lambda: chart_panels.time_marks(attempts, began), [])
    machines, devices = doubts.unless(
        "hardware", lambda: hardware.plots(source.hardware, began, times), ([], [])
    )
    starts, omitted = doubts.unless("attempts", lambda: attempt_list.attempts(run), ([], 0))
    return {
        "doubts": doubts,
        "name": source.name,
        "run_id": str(run.get("run_id") or ""),
        "started": quantities.clock(run["started"]) if run.get("started") else "",
        "message": str(run.get("message") or ""),
        "best": _best(run),
        "status": str(run.get("status") or ""),
        "verdict": doubts.unless("verdict", lambda: _verdict(run), None),
        "headlines_": doubts.unless("figures", lambda: _headlines(source, curves), []),
        "charts": charts,
        "listed": listed,
        "events": events,
        "machines": machines,
        "devices": devices,
        "parts": doubts.unless("usage", lambda: usage_section.parts(source.usage), []),
        "usage": doubts.unless("usage", lambda: usage_section.figures(source.usage), []),
        "samples": doubts.unless("samples", lambda: samples.ready(source.shown, source.show), []),
        "trainer": str(job.get("trainer") or ""),
        "parameters": doubts.unless("configuration", lambda: changed_settings.parameters(job), []),
        "differences": doubts.unless("configuration", lambda: _differences(job), []),
        "configuration": source.configuration,
        "attempts": starts,
        "omitted": omitted,
        "failures": doubts.unless("failures", lambda: attempt_list.failures(source.errors), []),
        "environment": _environment(run),
        "recorded": doubts.unless("environment", lambda: _recorded(source.provenance), []),
        "commands": doubts.unless("commands", lambda: _commands(source), []),
    }


def _differences(job: Mapping[str, Any]) -> list[changed_settings.Difference]:
    return changed_settings.differences(job) if job.get("trainer") else []


def _commands(source: FolderSource) -> list[follow_up_commands.FollowUpCommand]:
    signed = bool(changed_settings.section(source.job, "signature").get("_target_"))
    return follow_up_commands.commands(source.job, source.run, source.folder, signed=signed)


def _curves(source: FolderSource) -> dict[str, Curve]:
    path = source.metrics
    if path is None:
        return {}
    found = read_table(path) if path.suffix == ".csv" else read_curves(path)
    # Drawn over time from samples of their own.
    elsewhere = ("gpu/", "host/", "usage/") if source.hardware or source.usage else ()
    return {name: curve for name, curve in found.items() if not name.startswith(elsewhere)}


def _began(run: Mapping[str, Any], attempts: list[Mapping[str, Any]]) -> float:
    started = run.get("started") or (attempts[0].get("start") if attempts else None)
    return float(started) if isinstance(started, int | float) else 0.0


def _headlines(source: FolderSource, curves: Mapping[str, Curve]) -> list[Headline]:
    """What was reached, and what it took."""
    run, usage = source.run, source.usage
    given = run.get("metrics")
    metrics = given if isinstance(given, Mapping) else {}
    final = {k: v for k, v in metrics.items() if k != "global_step" and not k.startswith("train_")}
    if not final:
        final = {k: c.last for k, c in curves.items() if c.buckets and not k.startswith(("lr", "train"))}
    objective = from_json(run.get("best"))
    monitor = source.job.get("monitor") if objective is None else objective.metric
    first = sorted(final, key=lambda name: name != monitor)[:_MOST_FIGURES]
    found = [Headline(name, quantities.number(final[name])) for name in first]
    if (step := metrics.get("global_step") or _last_step(curves)) is not None:
        rate = metrics.get("train_samples_per_second")
        found.append(
            Headline(
                "steps", quantities.number(step), f"{quantities.number(rate, 3)} samples/s" if rate else ""
            )
        )
    if run.get("ended") is not None and (seconds := source.seconds) is not None:
        found.append(Headline("duration", quantities.duration(seconds), quantities.clock(run.get("started"))))
    for figure in (usage_section.energy(usage), usage_section.cost(usage), usage_section.to_go(usage)):
        if figure is not None:
            found.append(Headline(figure.name, figure.text, figure.kind))
    return found


def _best(run: Mapping[str, Any]) -> str:
    """Which weights the figures are of."""
    best = run.get("best")
    objective = from_json(best)
    if objective is None or not isinstance(best, Mapping):
        return ""
    step = best.get("step")
    return f"best: {objective}" + (f", step {quantities.number(step)}" if is_number(step) else "")


def _last_step(curves: Mapping[str, Curve]) -> float | None:
    return max((curve.buckets[-1].last for curve in curves.values() if curve.buckets), default=None)


def _verdict(run: Mapping[str, Any]) -> dict[str, Any] | None:
    """The verdict, when one was asked for."""
    verdict = run.get("verdict")
    if not isinstance(verdict, Mapping):
        return None
    if verdict.get("passed") is None and verdict.get("summary") in (None, "", _NOT_ASKED):
        return None
    criteria = [c for c in _list(verdict.get("criteria")) if isinstance(c, Mapping)]
    return {
        "passed": verdict.get("passed"),
        "summary": str(verdict.get("summary") or ""),
        "validator": str(verdict.get("validator") or ""),
        "criteria": [
            {
                "text": str(c.get("text") or ""),
                "passed": c.get("passed"),
                "value": quantities.number(c.get("value")),
            }
            for c in criteria
        ],
    }


def _environment(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = run.get("versions")
    return [(name, str(v)) for name, v in versions.items()] if isinstance(versions, Mapping) else []


def _recorded(provenance: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Code, data and machine, where they were noted."""
    found = []
    for key, title in _RECORDED.items():
        if isinstance(facts := provenance.get(key), Mapping) and facts:
            known = [
                (".".join(path), changed_settings.shown(value))
                for path, value in shipped_defaults.leaves(facts)
            ]
            found.append(
                (title, [(name, text) for name, text in known if text not in ("null", "")][:_MOST_FACTS])
            )
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
