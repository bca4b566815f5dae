"""Events as messages for people: what to say from the events and the folder, how to say it from templates."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nimble_lightning.errors import RequestError
from nimble_lightning.notifications import run_facts
from nimble_lightning.notifications.delivery_plan import Batch, Numbered, numbers
from nimble_lightning.notifications.events import EventKind
from nimble_lightning.ops import secrets, untrusted_text
from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.run_folder import RECORD
from nimble_lightning.terminal.progress_line import duration

if TYPE_CHECKING:
    import jinja2

_WITH_LOG = (EventKind.FAILED, EventKind.HUNG, EventKind.RETRYING)
_WITH_COMMAND = (EventKind.FAILED, EventKind.STOPPED)
# Of many events in one message so many are spelt out; the numbers at its end stand for all of them.
_MOST_LINES = 12
_MOST_TITLE = 300


@dataclass(frozen=True)
class Message:
    """What one service is sent."""

    title: str
    body: str
    is_good: bool | None = None


class MessageWriter:
    """Writes messages by templates.

    Args:
        templates: A folder whose `title.j2`, `message.md.j2` and `message.txt.j2`, or those named after a
            kind of event (`failed.md.j2`), take the place of the shipped ones.

    Raises:
        RequestError: The folder or a template in it cannot be used.
    """

    def __init__(self, templates: str | Path | None = None) -> None:
        self._shipped = _environment(None)
        self._own = None if templates is None else _checked(Path(templates).expanduser())

    def write(self, folder: Path, batch: Batch, *, markdown: bool) -> Message:
        """The message for a batch of events of the run in a folder; nothing secret gets into it."""
        try:
            return self._written(context_of(folder, batch), batch, markdown=markdown)
        except (
            Exception
        ):  # of whatever was written in the place of what a run writes; it is told all the same
            bare = Batch(batch.kind, tuple(map(_bare, batch.events)))
            return self._written(context_of(folder, bare, bare=True), bare, markdown=markdown)

    def _written(self, context: Mapping[str, Any], batch: Batch, *, markdown: bool) -> Message:
        kind = "md" if markdown else "txt"
        title = self._render([f"{batch.kind}.title.j2", "title.j2"], context)
        body = self._render([f"{batch.kind}.{kind}.j2", f"message.{kind}.j2"], context)
        redact = secrets.Redactor()
        kind_of_event = EventKind.named(batch.kind)
        good = None if kind_of_event is None else kind_of_event.is_good
        title, body = (
            redact(untrusted_text.printable(text)) for text in (" ".join(title.split()), body.strip())
        )
        return Message(untrusted_text.cut(title, _MOST_TITLE), untrusted_text.cut(body), good)

    def _render(self, names: list[str], context: Mapping[str, Any]) -> str:
        import jinja2

        if self._own is not None:
            try:
                return self._own.select_template(names).render(context)
            except jinja2.TemplateError:
                # A template that fails must not cost the message.
                pass
        return self._shipped.select_template(names).render(context)


def context_of(folder: Path, batch: Batch, *, bare: bool = False) -> dict[str, Any]:
    """What templates can speak of; `bare` without what the folder tells."""
    last = batch.events[-1].event
    facts = last.facts
    kind = EventKind.named(last.kind)
    run = {} if bare else run_facts.read(folder, RECORD)
    logged, logged_step = ({}, None) if bare else run_facts.last_metrics(folder)
    metrics = {**logged, **(run.get("metrics") or {}), **(facts.get("metrics") or {})}
    step = facts.get("step", logged_step)
    several = len(batch.events) > 1
    failed = last.kind in _WITH_LOG and not several
    metric = _metric(metrics, facts)
    return {
        "kind": last.kind,
        "words": last.kind if kind is None else kind.words,
        "count": len(batch.events),
        "facts": facts,
        "name": facts.get("name") or folder.parent.name or folder.name,
        "run": facts.get("run") or run.get("run_id") or folder.name,
        "folder": str(folder),
        "step": step,
        "metric": metric,
        "metrics": metrics,
        "lines": list(_lines(batch)) if several else [],
        "reason": "" if several else _reason(facts),
        "rows": list(_rows(folder, facts, run, metric, step, last.time)),
        "log": (facts.get("trace") or run_facts.last_words(folder)) if failed else "",
        "command": facts.get("command") if last.kind in _WITH_COMMAND else None,
        "numbers": numbers(batch.events),
    }


def _bare(each: Numbered) -> Numbered:
    return replace(each, event=replace(each.event, facts={}, time=0.0))


def _metric(metrics: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any] | None:
    name = run_facts.telling(metrics, facts.get("monitor"))
    if name is None:
        return None
    best = facts.get("best")
    return {"name": name, "now": _number(metrics[name]), "best": None if best is None else _number(best)}


def _reason(facts: Mapping[str, Any]) -> str:
    """Why, once: the message of an end tells the reason already."""
    text = str(facts.get("message") or facts.get("reason") or facts.get("text") or "")
    return "" if text in ("finished", "") else text


def _rows(
    folder: Path,
    facts: Mapping[str, Any],
    run: Mapping[str, Any],
    metric: Mapping[str, Any] | None,
    step: Any,
    now: float,
) -> Iterator[tuple[str, str]]:
    if facts.get("cause") not in (None, Cause.FINISHED):
        yield "cause", f"{facts['cause']}" + ("" if facts.get("rank") is None else f", rank {facts['rank']}")
    if metric is not None:
        yield metric["name"], metric["now"] + (f" (best {metric['best']})" if metric["best"] else "")
    verdict = facts.get("verdict") or {}
    if verdict.get("passed") is not None:
        yield "verdict", f"{'passed' if verdict['passed'] else 'not passed'}: {verdict.get('summary', '')}"
    if step is not None:
        total = facts.get("total_steps")
        yield "step", f"{step}" + (f" of {total} ({step / total:.0%})" if total else "")
    if facts.get("eta_seconds") is not None:
        yield "time left", duration(facts["eta_seconds"])
    seconds = facts.get("seconds") or (now - run["started"] if run.get("started") else None)
    if seconds:
        yield "time", duration(seconds)
    kwh, cost = run_facts.usage(folder)
    spent = [each for each in (kwh, cost) if each]
    if spent:
        yield "used", ", ".join(spent)
    yield "host", str(facts.get("host") or socket.gethostname())


def _lines(batch: Batch) -> Iterator[str]:
    shown = batch.events[-_MOST_LINES:]
    if len(shown) < len(batch.events):
        yield f"{len(batch.events) - len(shown)} more before these"
    for each in shown:
        yield _line(each)


def _line(each: Numbered) -> str:
    facts = each.event.facts
    metric = _metric(facts.get("metrics") or {}, facts)
    parts = [f"#{each.number}", facts.get("milestone"), facts.get("alarm"), _reason(facts)]
    parts += [f"step {facts['step']}" if facts.get("step") is not None else None]
    parts += [f"{metric['name']} {metric['now']}" if metric else None]
    return " ".join(str(part) for part in parts if part)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _environment(folder: Path | None) -> jinja2.Environment:
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    loader: jinja2.BaseLoader = (
        jinja2.PackageLoader("nimble_lightning.notifications")
        if folder is None
        else jinja2.FileSystemLoader(folder)
    )
    return SandboxedEnvironment(loader=loader, keep_trailing_newline=False, autoescape=False)


def _checked(folder: Path) -> jinja2.Environment:
    import jinja2

    environment = _environment(folder)
    names = [path.name for path in sorted(folder.glob("*.j2"))]
    if not names:
        raise RequestError(
            f"templates={folder}: there is no template. Expected title.j2, message.md.j2, message.txt.j2, or "
            "KIND.md.j2 and KIND.txt.j2 for one kind of event."
        )
    for name in names:
        try:
            environment.get_template(name)
        except jinja2.TemplateSyntaxError as error:
            raise RequestError(
                f"The template {folder / name}, line {error.lineno}: {error.message}"
            ) from None
    return environment
