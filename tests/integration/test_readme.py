"""What the README tells people to type works as typed, in its order, with the trainer that it shows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from forked_command import Command

from nimble_lightning.commands import main

README = (Path(__file__).parents[2] / "README.md").read_text()
OURS = ["python", "-m", "nimble_lightning"]


def commands() -> list[list[str]]:
    """All of them, in order, without what is said of them."""
    return [
        shlex.split(line, comments=True) for line in re.findall(r"^(?:python -m|nimble-cli) .*", README, re.M)
    ]


def without_figures(text: str) -> str:
    """Those depend on the machine."""
    return re.sub(r"\d[\d.,:]*", "0", text)


@pytest.fixture
def trainer() -> None:
    code = re.search(r"```python\n(# my_trainer.py\n.*?)```", README, re.S)
    assert code
    Path("my_trainer.py").write_text(code[1])


@pytest.mark.usefixtures("trainer")
def test_all_commands_work_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    typed = commands()
    assert len(typed) >= 5
    said = ""
    for words in typed:
        if words[:3] == OURS:
            said += Command(*words[3:]).end_with(0)
        elif words[1] != "check":
            assert main.main(words[1:]) == 0
    shown = re.search(r"```\n(epoch 3/3.*?)```", README, re.S)
    assert shown
    said = without_figures(Path("outputs/my_trainer/first/log.txt").read_text() + said)
    for line in shown[1].replace("outputs", str(Path("outputs").resolve())).splitlines():
        assert without_figures(line) in said
    listed = capsys.readouterr().out
    assert "3 runs, by accuracy, highest first" in listed
    assert "<h2>Curves</h2>" in Path("compared.html").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("trainer")
def test_the_trainer_passes_its_check() -> None:
    cli = Path(sys.executable).with_name("nimble-cli")
    done = subprocess.run([cli, "check", "my_trainer.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
