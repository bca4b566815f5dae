"""Writing the page of a run, or of a sweep, into its folder."""

from __future__ import annotations

from pathlib import Path

from nimble_lightning.report import page, rendering
from nimble_lightning.report.source import PAGE, Source

# While a run goes on, an open page looks for a newer one every so many seconds.
_REFRESH = 30


def build(folder: str | Path) -> Path:
    """Write `report.html` of a run, from what its folder holds; the same folder gives the same page.

    Args:
        folder: A run's folder, or one in which a Lightning project logged its metrics.

    Raises:
        OSError: The page could not be written.
    """
    source = Source(folder)
    content = page.content(source)
    refresh = _REFRESH if content["status"] == "running" else None
    return rendering.write(source.folder / PAGE, rendering.render("run.html", refresh=refresh, **content))
