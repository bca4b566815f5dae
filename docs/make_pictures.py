"""Make the picture of the README from a real run, which is killed once.

`python docs/make_pictures.py [FOLDER]`, with Chromium on the machine.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
COMMAND = (
    f"trainer={HERE.parent / 'examples' / 'digits.py'}",
    "run_id=first",
    "schedule=cosine",
    "callbacks.auto_retry.save_every_n_steps=50",
    "+callbacks.faults._target_=nimble_lightning.testing.Faults",
    "+callbacks.faults.plan='kill@step=210,attempt=1'",
)
SIZE = {"width": 1280, "height": 860}


def main(folder: Path) -> None:
    """Train, and keep how the page looks."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("Pictures need Chromium: apt-get install chromium")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([sys.executable, "-m", "nimble_lightning", *COMMAND], cwd=place, check=True)
        page = Path(place, "outputs/digits/first/report.html")
        with sync_playwright() as driver:
            opened = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            shown = opened.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
            shown.goto(page.as_uri())
            shown.screenshot(path=folder / "page.png")
            opened.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "pictures")
