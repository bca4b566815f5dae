"""From a template to one HTML file that needs nothing else and allows nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from nimble_lightning.ops import plain_files
from nimble_lightning.report import quantities


def render(template: str, **content: Any) -> str:
    """The page. Everything that is put into it is escaped."""
    style, script = _asset("page.css"), _asset("sort.js") if content.get("sortable") else ""
    page = environment().get_template(template)
    return page.render(style=Markup(style), script=Markup(script), policy=_policy(style, script), **content)


def write(path: Path, text: str) -> Path:
    """Replace the page, so that who opens it sees the old one or the new one."""
    # What was escaped in JSON may be half a character.
    plain_files.replace(path, text.encode(errors="replace"), flush=False)
    return path


@cache
def environment() -> Environment:
    """The templates, with the words they use."""
    made = Environment(
        loader=PackageLoader("nimble_lightning.report"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number=quantities.number, duration=quantities.duration, clock=quantities.clock, breakable=breakable
    )
    return made


def breakable(text: str) -> Markup:
    """A long name, which may go on in the next line after a dot, a dash or a slash."""
    return Markup(re.sub(r"([._/])(?=\w)", r"\1<wbr>", str(escape(text))))


def _asset(name: str) -> str:
    source, _, _ = PackageLoader("nimble_lightning.report").get_source(environment(), name)
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
