"""The command lines of `nimble-cli COMMAND`: read alike, explained alike."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from omegaconf import DictConfig

from nimble_lightning.cli.arguments import parse, quote
from nimble_lightning.cli.make_job import complete
from nimble_lightning.cli.request_plan import make_plan
from nimble_lightning.errors import RequestError


class Parser(argparse.ArgumentParser):
    """A parser of argparse's that refuses in our words, and in no others.

    Args:
        command: The word after `nimble-cli`.
        text: What it does, for `--help`.
        usage: What it takes, where argparse cannot tell.
    """

    def __init__(self, command: str, text: str, usage: str | None = None) -> None:
        prog = f"nimble-cli {command}"
        super().__init__(
            prog,
            usage=usage and f"{prog} {usage}",
            description=text,
            formatter_class=_Format,
            allow_abbrev=False,
        )
        self.command = command

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Read the words after the command, options and others in any order."""
        known = [name for name in self._option_string_actions if name.startswith("--")]
        for word in words:
            option = word.partition("=")[0]
            if option.startswith("--") and option not in (*known, "--"):
                near = get_close_matches(option, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(known)}"
                raise RequestError(f"{self.command} has no option {option}; {hint}")
        return self.parse_intermixed_args(list(words))

    def error(self, message: str) -> NoReturn:
        missing = message.partition("the following arguments are required: ")[2]
        said = f"{self.command} needs {missing}" if missing else f"{self.command}: {message}"
        raise RequestError(f"{said}. {self._usage()}")

    def _usage(self) -> str:
        return " ".join(self.format_usage().split())


class _Format(argparse.HelpFormatter):
    """Headings as everywhere in our help."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=79)

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, "Usage: ")

    def format_help(self) -> str:
        return re.sub(
            r"^([a-z][\w ]*):$",
            lambda found: found[1].capitalize(),
            super().format_help(),
            flags=re.MULTILINE,
        )


def one_run(command: str, words: list[str]) -> tuple[DictConfig, str]:
    """The checked configuration, and where the trainer is.

    Args:
        command: For the error, where there is no file.
        words: `FILE [key=value ...]`, or `trainer=FILE` or `recipe=NAME` among the others.
    """
    named = [f"trainer={quote(words[0])}", *words[1:]] if words and "=" not in words[0] else list(words)
    if not any(word.startswith(("trainer=", "recipe=")) for word in named):
        raise RequestError(f"{command} needs a file: nimble-cli {command} my_trainer.py")
    asked = make_plan(parse(named))
    source = asked.sources[0]
    complete(asked.config, source)
    if source.data is not None:
        asked.config.datamodule = source.data.reference
    return asked.config, source.trainer.reference
