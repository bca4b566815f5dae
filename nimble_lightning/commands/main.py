"""The console script `nimble-cli`: a small table of commands that hand over to whatever does the work."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files

from nimble_lightning.cli import app
from nimble_lightning.cli.compose import PACKAGE
from nimble_lightning.cli.schema.source_code import locate
from nimble_lightning.cli.suggestions import nearest
from nimble_lightning.commands.argument_parser import Parser, one_run
from nimble_lightning.commands.hide_addresses import conceal
from nimble_lightning.commands.train_flags import FLAGS, Flag, take, translate
from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.export.formats import ExportFormat
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.untrusted_text import cut, printable
from nimble_lightning.terminal.streams import open_missing

# Options of the run itself that `train` passes on, with the number of words they take.
_PASSED_ON = {
    "-m": 0,
    "--multirun": 0,
    "--cfg": 1,
    "-c": 1,
    "--config-dir": 1,
    "-cd": 1,
    "--package": 1,
    "--resolve": 0,
    "--info": 0,
    "--hydra-help": 0,
    "--version": 0,
}
# Those that answer without a file.
_ANSWERS = {"--help", "--info", "--hydra-help", "--version"}


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
    commands = {command.name: command for command in COMMANDS if not command.needs or locate(command.needs)}
    try:
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
        return commands[words[0]].run(words[1:])
    except SystemExit as answered:
        # argparse has shown its help.
        return int(answered.code or 0)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except NimbleError as error:
        print(cut(printable(f"error: {error}")), file=sys.stderr)
        return ExitCode.of(error)


def train(words: list[str]) -> int:
    """`train FILE [flags] [key=value ...]`: the same run as `python -m nimble_lightning`."""
    arguments, environment, notices = train_arguments(words)
    for notice in notices:
        print(notice, file=sys.stderr)
    os.environ.update(environment)
    return app.main(arguments, usage=_TRAIN)


def train_arguments(
    words: Sequence[str], exists: Callable[[str], bool] | None = None
) -> tuple[list[str], dict[str, str], list[str]]:
    """The command line of the run, variables it refers to, and notices, for the words after `train`."""
    given, options, rest = _sort(list(words))
    translation = translate(given, exists or in_this_version)
    file = [f"trainer={word}" for word in rest if "=" not in word]
    if len(file) > 1:
        raise RequestError(f"train takes one file, got {' and '.join(word[8:] for word in file)}")
    if not file and not any(word.startswith("trainer=") for word in rest) and _ANSWERS.isdisjoint(options):
        raise RequestError("train needs a file: nimble-cli train my_trainer.py")
    overrides = [word for word in rest if "=" in word]
    # Last wins, so that a key given by hand overrides what a flag stands for.
    return [*options, *file, *translation.overrides, *overrides], translation.environment, translation.notices


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


def plan(words: list[str]) -> int:
    """`plan FILE [--device NAME] [--network NAME] [--json] [key=value ...]`: whether it will fit."""
    return int(import_module("nimble_lightning.commands.plan.parse_options").main(words))


def retry(words: list[str]) -> int:
    """`retry -- CMD ...`: run any command under supervision."""
    return int(import_module("nimble_lightning.commands.retry").main(words))


def export(words: list[str]) -> int:
    """`export DIR --to FORMAT`: the best weights of a run as checked files."""
    return int(import_module("nimble_lightning.commands.export.command").main(words))


def report(words: list[str]) -> int:
    """`report DIR`: write the page of a run or a sweep again."""
    return int(import_module("nimble_lightning.commands.report").report(words))


def _proving(name: str) -> Callable[[list[str]], int]:
    """A command of `commands.sign_and_verify`, which the others have no need to import."""
    return lambda words: int(getattr(import_module("nimble_lightning.commands.sign_and_verify"), name)(words))


def gpu(words: list[str]) -> int:
    """`gpu [--json]`: the GPUs of this machine that a run would use."""
    return int(import_module("nimble_lightning.commands.gpu").main(words))


def notify(words: list[str]) -> int:
    """`notify`: try the addresses, or deliver what a run could not."""
    return int(import_module("nimble_lightning.commands.notify").main(words))


def usage(words: list[str]) -> int:
    """`usage DIR...`: what runs took, added up."""
    return int(import_module("nimble_lightning.commands.usage").main(words))


def in_this_version(home: str) -> bool:
    """Whether `group` or `group.member` is among the configuration that is shipped."""
    group, _, member = home.partition(".")
    folder = files(PACKAGE) / group
    return (folder / f"{member}.yaml").is_file() if member else folder.is_dir()


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


def _sort(words: list[str]) -> tuple[dict[str, list[str]], list[str], list[str]]:
    """Flags with their words, options to pass on, and everything else, whatever the order."""
    flags: dict[str, Flag] = {f"--{flag.name}": flag for flag in FLAGS}
    given: dict[str, list[str]] = {}
    options: list[str] = []
    rest: list[str] = []
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        if word in ("-h", "--help"):
            options.append("--help")
        elif option in flags:
            following = [value, *words] if equals else words
            given[flags[option].name], words = take(following, flags[option])
        elif option in _PASSED_ON:
            count = 0 if equals else _PASSED_ON[option]
            options += [word, *words[:count]]
            words = words[count:]
        elif word.startswith("-"):
            near = nearest(option.replace("-", "_"), [f"__{name[2:]}" for name in flags])
            hint = (
                f"did you mean --{near[2:]}?"
                if near
                else f"there are {', '.join(flags)}\n"
                f"A parameter of the trainer is given as params.{option.lstrip('-').replace('-', '_')}=VALUE"
            )
            raise RequestError(f"train has no option {option}; {hint}")
        else:
            rest.append(word)
    return given, options, rest


def _overview(commands: dict[str, Command]) -> str:
    lines = ["Usage: nimble-cli COMMAND ...", ""]
    for command in commands.values():
        lines += [f"  {command.usage}", f"      {command.help}"]
    return "\n".join(
        [
            *lines,
            "",
            _FLAGS,
            "Options",
            "  --version",
            "  --help                        also of each command",
            "  --shell-completion install=SHELL",
        ]
    )


_FLAGS = "\n".join(
    ["Flags of train", *(f"  {f'--{f.name} {f.argument}'.strip():<30}{f.help}" for f in FLAGS), ""]
)
_TRAIN = f"""\
Usage: nimble-cli train FILE [flags] [key=value ...]
       nimble-cli train -m FILE key=value1,value2 ...

FILE is my_trainer.py, my_trainer.py:Class or package.module:Class.

{_FLAGS}"""


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
        "plan",
        "plan FILE [--device NAME] [--network NAME] [--json] [key=value ...]",
        "estimate memory and speed, also for GPUs that are not here",
        plan,
        needs="nimble_lightning.commands.plan.command",
    ),
    Command(
        "retry",
        "retry [--max-retries N] [--run-id NAME] -- CMD ...",
        "run any command and restart it when it fails",
        retry,
        needs="nimble_lightning.commands.retry",
    ),
    Command(
        "notify",
        "notify DIR | --test [DIR | REFERENCE ...]",
        "send undelivered notifications; --test: one to each address",
        notify,
        needs="nimble_lightning.commands.notify",
    ),
    Command(
        "export",
        f"export DIR --to {'|'.join(ExportFormat)}|hub ...",
        "export the best weights of a run, each file checked",
        export,
        needs="nimble_lightning.commands.export.command",
    ),
    Command(
        "report",
        "report DIR...",
        "write the HTML page of a run, a sweep or any logged metrics",
        report,
        needs="nimble_lightning.commands.report",
    ),
    Command(
        "keygen",
        "keygen --out KEY.pem",
        "make a key pair for signing runs",
        _proving("keygen"),
    ),
    Command(
        "sign",
        "sign DIR --key KEY.pem",
        "sign a finished run",
        _proving("sign_folder"),
    ),
    Command(
        "verify",
        "verify DIR --key PUB [--replay N]",
        "verify a signed run; --replay retrains parts of it",
        _proving("verify_folder"),
    ),
    Command(
        "gpu",
        "gpu [--json]",
        "show this machine's GPUs and what is wrong with them",
        gpu,
        needs="nimble_lightning.commands.gpu",
    ),
    Command(
        "usage",
        "usage DIR... [--by project|user|gpu|week] [--json|--csv] [--send [URL]]",
        "total device hours, energy and cost of runs",
        usage,
        needs="nimble_lightning.commands.usage",
    ),
)
