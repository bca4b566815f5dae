"""`nimble-cli plan FILE`: its options, then what does the work."""

from __future__ import annotations

from importlib import import_module

from nimble_lightning.commands.argument_parser import Parser, one_run


def main(words: list[str]) -> int:
    """Plan a run; returns the exit code: 0 if something fits."""
    asked = _parser().read(words)
    config, trainer = one_run("plan", asked.words)
    command = import_module("nimble_lightning.commands.plan.command")
    options = {name: value for name, value in vars(asked).items() if name != "words" and value}
    return int(command.plan(config, trainer, command.MachineRequest(**options)))


def _parser() -> Parser:
    parser = Parser(
        "plan",
        "Estimate memory and speed of a run, also for GPUs that are not here.",
        "FILE [options] [key=value ...]",
    )
    parser.add_argument("words", nargs="*", metavar="FILE key=value", help="as train takes them")
    parser.add_argument("--device", metavar="NAME", help="such as H100; default: those of this machine")
    parser.add_argument("--network", metavar="NAME", help="between machines")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser
