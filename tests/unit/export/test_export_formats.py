"""One table of formats: what can be asked for in settings and on the command line is what can be made."""

from __future__ import annotations

import ast
from dataclasses import fields

import pytest

from nimble_lightning.commands.export.command import main
from nimble_lightning.commands.main import COMMANDS
from nimble_lightning.export.formats import ExportFormat
from nimble_lightning.settings import RunSettings


def test_settings_offer_these_formats() -> None:
    written = next(str(f.type) for f in fields(RunSettings) if f.name == "export")
    offered = [node.value for node in ast.walk(ast.parse(written)) if isinstance(node, ast.Constant)]
    assert [name for name in offered if name is not None] == [kind.value for kind in ExportFormat]


def test_the_command_offers_these_and_the_hub(capsys: pytest.CaptureFixture[str]) -> None:
    usage = next(command.usage for command in COMMANDS if command.name == "export")
    assert usage == "export DIR --to safetensors|torch|onnx|merged|hub ..."
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "of safetensors, torch, onnx, merged, hub" in " ".join(capsys.readouterr().out.split())
