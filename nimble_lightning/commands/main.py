"""The console script `nimble-cli`: a small table of commands that hand over to whatever does the work."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from nimble_lightning.cli import app
from nimble_lightning.cli.schema.source_code import locate
from nimble_lightning.cli.suggestions import nearest
from nimble_lightning.commands.argument_parser import Parser, one_run
from nimble_lightning.commands.hide_addresses import conceal
from nimble_lightning.commands.train import FLAGS_EXPLAINED, train
from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.export.formats import ExportFormat
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.untrusted_text import cut, printable
from nimble_lightning.terminal.streams import close_for_good, open_missing


@dataclass(frozen=True)
class Command:
    """One command; without the module it `needs` it is not offered."""

    name: str
    usage: str
    help: str
    run: Callable[[list[str]], int]
    needs: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    if argv is None:
        open_missing()
        conceal(sys.argv[1:])
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _answer(words)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return close_for_good()
    except NimbleError as error:
        print(cut(printable(f"error: {error}")), file=sys.stderr)
        return ExitCode.of(error)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # It is done all the same, and may have been a run.
        close_for_good()
    return code


def _answer(words: list[str]) -> int:
    commands = {command.name: command for command in COMMANDS if not command.needs or locate(command.needs)}
    if not words or words[0] in ("-h", "--help"):
        print(_overview(commands))
        return ExitCode.FINISHED if words else ExitCode.REFUSED
    if words[0] == "--version":
        return app.main(["--version"])
    if words[0] in ("-sc", "--shell-completion"):
        return _complete(words)
    if words[0] not in commands:
        near = nearest(words[0], list(commands))
        hint = f"did you mean nimble-cli {near}?" if near else f"there are {', '.join(commands)}"
        raise RequestError(f"nimble-cli has no command {words[0]}; {hint}")
    try:
        return commands[words[0]].run(words[1:])
    except SystemExit as answered:
        # argparse has shown its help.
        return int(answered.code or 0)


def check(words: list[str]) -> int:
    """`check FILE [key=value ...]`: try every method on a little data."""
    parser = Parser(
        "check",
        "Try every method on a little data, in one process and in two, then kill the run and resume it.",
        "FILE [key=value ...]",
    )
    parser.add_argument("FILE", help="my_trainer.py, my_trainer.py:Class or package.module:Class")
    parser.add_argument("key=value", nargs="*", help="settings, as train takes them")
    if {"-h", "--help"}.intersection(words):
        # The words are read by those who read them for a run.
        parser.print_help()
        return 0
    config, trainer = one_run("check", words)
    return int(import_module("nimble_lightning.commands.check.command").check(config, trainer))


def _late(module: str, name: str = "main") -> Callable[[list[str]], int]:
    """A function of a module that the other commands have no need to import."""
    return lambda words: int(getattr(import_module(module), name)(words))


def _complete(words: list[str]) -> int:
    """Answer the shell; to Hydra, `nimble-cli train FILE` is `nimble-cli trainer=FILE`."""
    if len(words) != 2 or not re.fullmatch(r"(install|uninstall|query)=(bash|zsh|fish)", words[1]):
        raise RequestError(
            f"{words[0]} takes install=SHELL or uninstall=SHELL, for bash, zsh or fish\n"
            'In bash: eval "$(nimble-cli --shell-completion install=bash)"'
        )
    line = os.environ.get("COMP_LINE", "")
    os.environ["COMP_LINE"] = re.sub(r"^(\S+)\s+train(?:\s+([^\s=]+))?\s", r"\1 trainer=\2 ", line)
    return app.complete(words)


def _overview(commands: dict[str, Command]) -> str:
    lines = ["Usage: nimble-cli COMMAND ...", ""]
    for command in commands.values():
        lines += [f"  {command.usage}", f"      {command.help}"]
    return "\n".join(
        [
            *lines,
            "",
            FLAGS_EXPLAINED,
            "Options",
            "  --version",
            "  --help                        also of each command",
            "  --shell-completion install=SHELL",
        ]
    )


COMMANDS: tuple[Command, ...] = (
    Command(
        "train",
        "train FILE [flags] [key=value ...]",
        "train the trainer in FILE; FILE --help lists its parameters",
        train,
    ),
    Command(
        "check",
        "check FILE [key=value ...]",
        "try every method on a little data, then kill and resume",
        check,
        needs="nimble_lightning.commands.check.command",
    ),
    Command(
        "look",
        "look FILE model=NAME [key=value ...]",
        "show what a language model would learn from conversations",
        _late("nimble_lightning.commands.look"),
        needs="nimble_lightning.commands.look",
    ),
    Command(
        "models",
        "models [WORD...] [--json]",
        "list models by name: size, licence, memory, recipes",
        _late("nimble_lightning.commands.model_table"),
        needs="nimble_lightning.commands.model_table",
    ),
    Command(
        "plan",
        "plan FILE [--device NAME] [--network NAME] [--json] [key=value ...]",
        "estimate memory and speed, also for GPUs that are not here",
        _late("nimble_lightning.commands.plan.parse_options"),
        needs="nimble_lightning.commands.plan.command",
    ),
    Command(
        "convert",
        "convert FILE [--task sft|dpo|kto|reward] [--json]",
        "turn settings of other programs into a command line of ours",
        _late("nimble_lightning.commands.convert"),
    ),
    Command(
        "retry",
        "retry [--max-retries N] [--run-id NAME] -- CMD ...",
        "run any command and restart it when it fails",
        _late("nimble_lightning.commands.retry"),
        needs="nimble_lightning.commands.retry",
    ),
    Command(
        "notify",
        "notify DIR | --test [DIR | REFERENCE ...]",
        "send undelivered notifications; --test: one to each address",
        _late("nimble_lightning.commands.notify"),
        needs="nimble_lightning.commands.notify",
    ),
    Command(
        "export",
        f"export DIR --to {'|'.join(ExportFormat)}|hub ...",
        "export the best weights of a run, each file checked",
        _late("nimble_lightning.commands.export.command"),
        needs="nimble_lightning.commands.export.command",
    ),
    Command(
        "evaluate",
        "evaluate RUN [--json] [key=value ...]",
        "evaluate a run's best weights, on its data or other data",
        _late("nimble_lightning.commands.evaluate", "evaluate"),
    ),
    Command(
        "predict",
        "predict RUN --out FILE [key=value ...]",
        "write what the trainer predicts, one row a sample",
        _late("nimble_lightning.commands.evaluate", "predict"),
    ),
    Command(
        "report",
        "report DIR...",
        "write the HTML page of a run, a sweep or any logged metrics",
        _late("nimble_lightning.commands.report", "report"),
        needs="nimble_lightning.commands.report",
    ),
    Command(
        "runs",
        "runs [DIR...] [--sort NAME] [--where 'NAME<VALUE'] [--json]",
        "list runs with their figures and the settings that differ",
        _late("nimble_lightning.commands.runs.tables", "runs"),
    ),
    Command(
        "show",
        "show RUN",
        "tell how one run went, what it came to and what to type next",
        _late("nimble_lightning.commands.runs.tables", "show"),
    ),
    Command(
        "compare",
        "compare RUN RUN... [--page FILE]",
        "show what differs between runs; --page also their curves",
        _late("nimble_lightning.commands.runs.tables", "compare"),
    ),
    Command(
        "tail",
        "tail RUN",
        "follow the log of a run until it ends",
        _late("nimble_lightning.commands.runs.live", "tail"),
    ),
    Command(
        "stop",
        "stop RUN...",
        "have runs commit a checkpoint and end",
        _late("nimble_lightning.commands.runs.live", "stop"),
    ),
    Command(
        "rm",
        "rm RUN... [--yes] [--best]",
        "remove runs with all they hold, after asking",
        _late("nimble_lightning.commands.runs.removal", "remove"),
    ),
    Command(
        "keygen",
        "keygen --out KEY.pem",
        "make a key pair for signing runs",
        _late("nimble_lightning.commands.sign_and_verify", "keygen"),
    ),
    Command(
        "sign",
        "sign DIR --key KEY.pem",
        "sign a finished run",
        _late("nimble_lightning.commands.sign_and_verify", "sign_folder"),
    ),
    Command(
        "verify",
        "verify DIR --key PUB [--replay N]",
        "verify a signed run; --replay retrains parts of it",
        _late("nimble_lightning.commands.sign_and_verify", "verify_folder"),
    ),
    Command(
        "gpu",
        "gpu [--json]",
        "show this machine's GPUs and what is wrong with them",
        _late("nimble_lightning.commands.gpu"),
        needs="nimble_lightning.commands.gpu",
    ),
    Command(
        "usage",
        "usage DIR... [--by project|user|gpu|week] [--json|--csv] [--send [URL]]",
        "total device hours, energy and cost of runs",
        _late("nimble_lightning.commands.usage"),
        needs="nimble_lightning.commands.usage",
    ),
)
