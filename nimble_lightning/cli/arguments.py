"""The command line taken apart: Hydra's flags, and overrides that Hydra can read."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException

from nimble_lightning.cli.suggestions import bad_syntax
from nimble_lightning.errors import RequestError

# Hydra reads these as configuration groups when a folder of that name is on its search path.
_PLAIN_KEYS = ("trainer", "datamodule")
_SWEPT = 200


@dataclass
class Request:
    """What was asked.

    Attributes:
        flags: Hydra's own options.
        overrides: `key=value`, in the order given.
    """

    flags: argparse.Namespace
    overrides: list[Override] = field(default_factory=list)

    @property
    def multirun(self) -> bool:
        return bool(self.flags.multirun) or any(
            o.key_or_group == "hydra.mode" and str(o.value()).endswith("MULTIRUN") for o in self.overrides
        )

    def values(self, key: str) -> list[Any]:
        """Every value the last override of a key asks for: several in a sweep, none if there is none."""
        for override in reversed(self.overrides):
            if override.key_or_group == key and not override.is_delete():
                return candidates(override)
        return []

    def search_path(self) -> list[str]:
        """Overrides that make `hydra.compose` look where the command would."""
        folders = [str(entry) for value in self.values("hydra.searchpath") for entry in (value or [])]
        if self.flags.config_dir is not None:
            folders.insert(0, f"file://{Path(self.flags.config_dir).absolute()}")
        quoted = ",".join(quote(folder) for folder in folders)
        return [f"hydra.searchpath=[{quoted}]"] if folders else []

    def argv(self, overrides: Iterable[str]) -> list[str]:
        """The same command with other overrides, as Hydra's own parser wants it: options first."""
        flags = self.flags
        given = {
            "--config-dir": flags.config_dir,
            "--config-path": flags.config_path,
            "--config-name": flags.config_name,
            "--cfg": flags.cfg,
            "--package": flags.package,
        }
        switches = {
            "--multirun": flags.multirun,
            "--run": flags.run,
            "--resolve": flags.resolve,
            "--hydra-help": flags.hydra_help,
            "--shell-completion": flags.shell_completion,
        }
        words = [f"{option}={value}" for option, value in given.items() if value is not None]
        words += [option for option, on in switches.items() if on]
        words += [f"--info={flags.info}"] if flags.info is not None else []
        return [*words, *overrides]


def parse(argv: Sequence[str]) -> Request:
    """Read a command line.

    Raises:
        RequestError: An override cannot be read, or a configuration folder gets in the way.
    """
    parser = get_args_parser()
    parser.prog = "python -m nimble_lightning"
    parser.usage = "%(prog)s trainer=FILE [key=value ...]   (--help says more)"
    parser.error = _refuse  # type: ignore[method-assign]
    flags = parser.parse_intermixed_args(list(argv))
    if flags.shell_completion:
        return Request(flags)
    if flags.multirun and (flags.info is not None or flags.cfg in ("hydra", "all")):
        raise RequestError("-m runs jobs; to look at the configuration leave it out")
    if flags.resolve and flags.cfg is None:
        raise RequestError("--resolve goes with --cfg job")
    request = Request(flags, [read_override(text) for text in flags.overrides])
    _check_folders(request)
    return request


def _refuse(message: str) -> NoReturn:
    option, _, value = message.partition("unrecognized arguments: ")[2].replace("=", " ").partition(" ")
    if not option.startswith("--"):
        raise RequestError(message)
    name, value = option[2:].replace("-", "_"), value.partition(" ")[0] or "VALUE"
    raise RequestError(
        f"There is no option {option}; a parameter of the trainer is given as params.{name}={value}"
    )


def read_override(text: str) -> Override:
    """Parse one override; a file name that needs quotes gets them."""
    parser = OverridesParser.create()
    key, equals, value = text.partition("=")
    name = key.lstrip("+")
    try:
        return parser.parse_override(text)
    except HydraException as error:
        if equals and name in _PLAIN_KEYS:
            return parser.parse_override(f"{key}={quote(value)}")
        if not equals and text.removesuffix('"').endswith(".py"):
            raise RequestError(f"{text}: an override is key=value\nDid you mean trainer={text}?") from None
        raise RequestError(bad_syntax(text, error)) from None


def candidates(override: Override) -> list[Any]:
    """The values of an override: one, or those of a sweep as far as they are known beforehand."""
    if not override.is_sweep_override():
        return [override.value()]
    if not override.is_discrete_sweep():
        interval: Any = override.value()
        return [interval.start, interval.end]
    found: list[Any] = []
    for value in override.sweep_iterator():
        found.append(value.text if isinstance(value, QuotedString) else value)
        if len(found) == _SWEPT:
            break
    return found


def quote(text: str) -> str:
    """Text as a Hydra value that means exactly this text."""
    escaped = text.replace("\\'", "\\\\'").replace("'", "\\'")
    return f"'{escaped}'"


def _check_folders(request: Request) -> None:
    places = [request.flags.config_dir] if request.flags.config_dir else []
    if places and not Path(places[0]).is_dir():
        raise RequestError(f"--config-dir {places[0]}: no such folder")
    places += [
        str(entry).removeprefix("file://")
        for value in request.values("hydra.searchpath")
        for entry in value or []
    ]
    for place in places:
        for key in _PLAIN_KEYS:
            if (Path(place) / key).is_dir():
                raise RequestError(
                    f"The folder {Path(place) / key} makes Hydra take {key}= for the choice of a file in it\n"
                    f"Rename that folder (for instance to {key}s/); its files can be used as experiment=..."
                )
