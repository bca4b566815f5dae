"""Writing the page of a run, or of a sweep, into its folder."""

from __future__ import annotations

from pathlib import Path

from nimble_lightning.errors import RequestError
from nimble_lightning.report import render, run_page, sweep_page
from nimble_lightning.report.folder_source import FolderSource
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
    text = content["doubts"].unless("drawings", lambda: render.render("run.html", **content), "")
    if not text:
        # Figures are drawn while the page is written, and these cannot be.
        text = render.render("run.html", **{**content, "charts": [], "machines": []})
    return render.write(source.folder / PAGE, text)


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
    text = found.doubts.unless("drawings", lambda: render.render("sweep.html", **content), "")
    if not text:
        text = render.render("sweep.html", **{**content, "parallel": None, "scatters": []})
    return render.write(found.folder / PAGE, text)
