"""`nimble-cli plan FILE`: its options, then what does the work."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from nimble_lightning.cli.one_run import one_run
from nimble_lightning.errors import RequestError

_NAMED = ("--device", "--network")


def main(words: list[str]) -> int:
    """Plan a run; returns the exit code: 0 if something fits."""
    options, rest = _sorted(words)
    config, trainer = one_run("plan", rest)
    where = import_module("nimble_lightning.runtime.planned.where")
    command = import_module("nimble_lightning.runtime.planned.command")
    return int(command.plan(config, trainer, where.Asked(**options)))


def _sorted(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The options, and everything else."""
    options: dict[str, Any] = {}
    rest, left = [], list(words)
    while left:
        word = left.pop(0)
        option, equals, value = word.partition("=")
        if word == "--json":
            options["json"] = True
        elif option in _NAMED:
            if not equals and not left:
                raise RequestError(f"{option} needs a name: nimble-cli plan my_trainer.py {option} NAME")
            options[option[2:]] = value if equals else left.pop(0)
        elif word.startswith("-"):
            raise RequestError(f"plan has no option {option}; there are {', '.join(_NAMED)}, --json")
        else:
            rest.append(word)
    return options, rest
