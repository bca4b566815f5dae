"""`nimble-cli train FILE`: its flags and options, then the same run as `python -m nimble_lightning`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files

from nimble_lightning.cli import app
from nimble_lightning.cli.compose import PACKAGE
from nimble_lightning.cli.suggestions import nearest
from nimble_lightning.commands.train_flags import FLAGS, Flag, take, translate
from nimble_lightning.errors import RequestError

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


def train(words: list[str]) -> int:
    """`train FILE [flags] [key=value ...]`: the same run as `python -m nimble_lightning`."""
    arguments, environment, notices = train_arguments(words)
    for notice in notices:
        print(notice, file=sys.stderr)
    os.environ.update(environment)
    return app.main(arguments, usage=_USAGE)


def train_arguments(
    words: Sequence[str], exists: Callable[[str], bool] | None = None
) -> tuple[list[str], dict[str, str], list[str]]:
    """The command line of the run, variables it refers to, and notices, for the words after `train`."""
    given, options, rest = _sort(list(words))
    translation = translate(given, exists or _in_this_version)
    file = [f"trainer={word}" for word in rest if "=" not in word]
    if len(file) > 1:
        raise RequestError(f"train takes one file, got {' and '.join(word[8:] for word in file)}")
    if not file and not any(word.startswith("trainer=") for word in rest) and _ANSWERS.isdisjoint(options):
        raise RequestError("train needs a file: nimble-cli train my_trainer.py")
    overrides = [word for word in rest if "=" in word]
    # Last wins, so that a key given by hand overrides what a flag stands for.
    return [*options, *file, *translation.overrides, *overrides], translation.environment, translation.notices


def _in_this_version(home: str) -> bool:
    """Whether `group` or `group.member` is among the configuration that is shipped."""
    group, _, member = home.partition(".")
    folder = files(PACKAGE) / group
    return (folder / f"{member}.yaml").is_file() if member else folder.is_dir()


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


FLAGS_EXPLAINED = "\n".join(
    ["Flags of train", *(f"  {f'--{f.name} {f.argument}'.strip():<30}{f.help}" for f in FLAGS), ""]
)
_USAGE = f"""\
Usage: nimble-cli train FILE [flags] [key=value ...]
       nimble-cli train -m FILE key=value1,value2 ...

FILE is my_trainer.py, my_trainer.py:Class or package.module:Class.

{FLAGS_EXPLAINED}"""
