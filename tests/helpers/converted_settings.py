"""What `nimble-cli convert` makes of settings of others, and our command line of that."""

from __future__ import annotations

import shlex
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from omegaconf import OmegaConf

from nimble_lightning.cli.arguments import parse
from nimble_lightning.cli.request_plan import make_plan
from nimble_lightning.commands import main


def printed(content: str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    Path("settings.yaml").write_text(dedent(content))
    assert main.main(["convert", "settings.yaml", *words]) == 0
    return capsys.readouterr().out


def composed(text: str) -> dict[str, Any]:
    """What our command line makes of a printed script, comments left out."""
    python, m, package, *words = shlex.split(text.replace("\\\n", " "), comments=True)
    assert [python, m, package] == ["python", "-m", "nimble_lightning"]
    found = OmegaConf.to_container(make_plan(parse(words)).config, resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def left_out(text: str) -> set[str]:
    lines = text.partition("Not carried over")[2].splitlines()[1:]
    return {line.strip("# ").partition(" ")[0].strip(":") for line in lines}
