"""The page of a run, or of a sweep, in its folder: one HTML file that needs and allows nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from nimble_lightning.errors import RequestError
from nimble_lightning.ops import plain_files
from nimble_lightning.report import comparison_page, quantities, run_page, sweep_page
from nimble_lightning.report.folder_source import FolderSource
from nimble_lightning.report.run_list import ListedRun
from nimble_lightning.report.sweep_members import SweepFolder
from nimble_lightning.run_folder import PAGE

# While a run goes on, an open page looks for a newer one every so many seconds.
_REFRESH = 30


def build(folder: str | Path) -> Path:
    """Write `report.html` of a run, from what its folder holds; the same folder gives the same page.

    Args:
        folder: A run's folder, or one in which a Lightning project logged its metrics.

    Raises:
        OSError: The page could not be written.
    """
    source = FolderSource(folder)
    content = run_page.content(source)
    content["refresh"] = _REFRESH if content["status"] == "running" else None
    text = content["doubts"].unless("drawings", lambda: _render("run.html", **content), "")
    if not text:
        # Figures are drawn while the page is written, and these cannot be.
        text = _render("run.html", **{**content, "charts": [], "machines": []})
    return _write(source.folder / PAGE, text)


def build_sweep(folder: str | Path) -> Path:
    """Write `report.html` of a sweep: its members side by side, each with a link to its own page.

    Raises:
        RequestError: There is no member in the folder.
        OSError: The page could not be written.
    """
    found = SweepFolder(Path(folder).resolve())
    if not found.members:
        raise RequestError(f"{found.folder} holds no runs: expected folders with a run.json in them")
    content = {**sweep_page.content(found), "refresh": None, "sortable": True}
    text = found.doubts.unless("drawings", lambda: _render("sweep.html", **content), "")
    if not text:
        text = _render("sweep.html", **{**content, "parallel": None, "scatters": []})
    return _write(found.folder / PAGE, text)


def build_comparison(found: Sequence[ListedRun], path: Path) -> Path:
    """Write a page of some runs beside each other.

    Raises:
        OSError: The page could not be written.
    """
    content = {**comparison_page.content(found), "refresh": None}
    text = content["doubts"].unless("drawings", lambda: _render("comparison.html", **content), "")
    return _write(path, text or _render("comparison.html", **{**content, "charts": []}))


def _render(template: str, **content: Any) -> str:
    """The page. Everything that is put into it is escaped."""
    style, script = _asset("page.css"), _asset("sort.js") if content.get("sortable") else ""
    page = _environment().get_template(template)
    return page.render(style=Markup(style), script=Markup(script), policy=_policy(style, script), **content)


def _write(path: Path, text: str) -> Path:
    """Replace the page, so that who opens it sees the old one or the new one."""
    # What was escaped in JSON may be half a character.
    plain_files.replace(path, text.encode(errors="replace"), flush=False)
    return path


@cache
def _environment() -> Environment:
    """The templates, with the words they use."""
    made = Environment(
        loader=PackageLoader("nimble_lightning.report"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number=quantities.number, duration=quantities.duration, clock=quantities.clock, breakable=_breakable
    )
    return made


def _breakable(text: str) -> Markup:
    """A long name, which may go on in the next line after a dot, a dash or a slash."""
    return Markup(re.sub(r"([._/])(?=\w)", r"\1<wbr>", str(escape(text))))


def _asset(name: str) -> str:
    source, _, _ = PackageLoader("nimble_lightning.report").get_source(_environment(), name)
    return source


def _policy(style: str, script: str) -> str:
    """What the page may do: look like this, show what is inside it or in its folder, and nothing else."""
    allowed = [
        "default-src 'none'",
        f"style-src {_digest(style)}",
        "img-src 'self' data:",
        "media-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join([*allowed, f"script-src {_digest(script)}"] if script else allowed)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
