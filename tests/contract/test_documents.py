"""What the documents say is true: links lead somewhere, and the README's trainer trains."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_into_the_project_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / name).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_make_target_named_in_a_document_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for name in DOCUMENTS:
        named = re.findall(r"^make ([a-z]+)", (ROOT / name).read_text(), re.M)
        assert set(named) <= targets, name


def test_the_trainer_in_the_readme_trains() -> None:
    code = re.search(r"```python\n(# my_trainer.py\n.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert code
    Path("my_trainer.py").write_text(code[1])
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "nimble_lightning",
            "trainer=my_trainer.py",
            "params.lr=3e-3",
            "lightning.max_epochs=2",
        ],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "a first guess" in done.stdout + done.stderr
