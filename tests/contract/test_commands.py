"""Every command of `nimble-cli` explains itself, in one style, by existing."""

from __future__ import annotations

import re

import pytest

from nimble_lightning.cli import app
from nimble_lightning.commands import main
from nimble_lightning.commands.main import COMMANDS, Command


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_a_command_answers_help(command: Command, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([command.name, option]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith(f"Usage: nimble-cli {command.name}")
    assert not re.search(r"^(usage|options|positional)", said.out, re.MULTILINE)
    assert max(map(len, said.out.splitlines())) <= 80
    for name in re.findall(r"--[\w-]+", command.usage):
        assert name in said.out, "the overview names it"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_command_refuses_what_it_does_not_know(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main([command.name, "--no-such-option"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n  {command.name} " in text


@pytest.mark.parametrize("words", [["--shell-completion"], ["-sc", "install=cmd.exe"]])
def test_completion_says_how_it_is_installed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(words) == 2
    assert 'eval "$(nimble-cli --shell-completion install=bash)"' in capsys.readouterr().err
    assert app.main(["--shell-completion"]) == 2
    assert 'eval "$(nimble-cli' in capsys.readouterr().err


def test_a_shell_completes_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_LINE", "nimble-cli train my.py optim=s")
    assert main.main(["--shell-completion", "query=bash"]) == 0
    assert capsys.readouterr().out.split() == ["optim=sgd"]
