"""`--help` shows this trainer's parameters and fits a narrow terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nimble_lightning.cli.arguments import parse
from nimble_lightning.cli.help_text import help_text


@pytest.mark.usefixtures("trainer_file")
def test_the_trainers_own_parameters_come_with_type_default_and_meaning() -> None:
    text = help_text(parse(["trainer=my_trainer.py"]))
    assert "Parameters of MyTrainer.pre_process (my_trainer.py)" in text
    assert "params.hidden: int = 64" in text
    assert "Width of the hidden layer." in text
    assert "params.act: Literal['relu', 'gelu'] = 'relu'" in text


def test_without_a_trainer_groups_settings_and_exit_codes_are_shown() -> None:
    text = help_text(parse([]))
    for word in ("trainer=FILE", "optim", "adamw", "schedule", "data.batch_size", "Exit codes", "--multirun"):
        assert word in text


def test_nothing_is_wider_than_eighty_columns(write_trainer: Callable[..., Path]) -> None:
    long = "Literal[" + ", ".join(f"'choice_{n}'" for n in range(20)) + "]"
    write_trainer(f"*, size: {long} = 'choice_1'", "t.py")
    assert max(map(len, help_text(parse(["trainer=t.py"])).splitlines())) <= 80


def test_a_required_parameter_does_not_keep_help_from_showing(write_trainer: Callable[..., Path]) -> None:
    write_trainer("*, size: int", "t.py")
    text = help_text(parse(["trainer=t.py"]))
    assert "params.size: int" in text
    assert "required" in text
