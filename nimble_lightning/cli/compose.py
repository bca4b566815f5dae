"""Hydra's composition, asked ahead of the run: which groups there are, and what they make together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf

from nimble_lightning.cli.arguments import Request, candidates, quote
from nimble_lightning.cli.suggestions import bad_choice
from nimble_lightning.errors import RequestError

PACKAGE = "nimble_lightning.conf"
VERSION = "1.3"


class Composer:
    """Composes with the search path of a request."""

    def __init__(self, request: Request) -> None:
        self._path = request.search_path()
        self._name = request.flags.config_name or "config"
        self.groups: dict[str, list[str]] = self._find_groups()

    def compose(self, overrides: Sequence[str] = ()) -> DictConfig:
        """Compose without the section Hydra keeps for itself.

        Raises:
            RequestError: A group has no such choice.
        """
        try:
            return compose(self._name, overrides=[*self._path, *overrides])
        except MissingConfigException as error:
            raise RequestError(bad_choice(error, self.groups)) from None

    def probe(self, overrides: Sequence[Override]) -> DictConfig:
        """Compose everything that decides which files take part; of a sweep, its first member."""
        chosen = [first(o) for o in overrides if self.decides(o) and not o.is_hydra_override()]
        return self.compose(chosen)

    def decides(self, override: Override) -> bool:
        """Whether an override needs Hydra to be understood: a group, an addition, a deletion."""
        return (
            override.is_hydra_override()
            or self.is_group(override)
            or override.type is not OverrideType.CHANGE
        )

    def is_group(self, override: Override) -> bool:
        key = override.key_or_group
        return override.package is not None or "/" in key or key in self.groups

    def options(self, group: str) -> list[str]:
        """The choices of a group."""
        return self.groups.get(group, [])

    def block(self, group: str, option: str) -> Any:
        """What one choice of a group contains, references unresolved."""
        node = self.compose([f"{group}=[{option}]"])[group][option]
        return OmegaConf.to_container(node, resolve=False)

    def _find_groups(self) -> dict[str, list[str]]:
        loader: Any = GlobalHydra.instance().config_loader()
        # The public way reads the primary configuration once more for every group.
        _, files = loader._parse_overrides_and_create_caching_repo(self._name, self._path)

        def listed(parent: str, kind: ObjectType) -> list[str]:
            return sorted(name for name in files.get_group_options(parent, kind) if not name.startswith("_"))

        def choices(group: str) -> list[str]:
            deeper = [
                f"{part}/{name}"
                for part in listed(group, ObjectType.GROUP)
                for name in choices(f"{group}/{part}")
            ]
            return [*listed(group, ObjectType.CONFIG), *deeper]

        groups = [name for name in listed("", ObjectType.GROUP) if name != "hydra"]
        return {group: choices(group) for group in groups}


@contextmanager
def composer(request: Request) -> Iterator[Composer]:
    """A composer for the length of a `with` block; Hydra allows one at a time."""
    with initialize_config_module(PACKAGE, version_base=VERSION, job_name="nimble"):
        yield Composer(request)


def first(override: Override) -> str:
    """An override as text, of a sweep its first member."""
    if not override.is_sweep_override():
        return str(override.input_line)
    return f"{override.get_key_element()}={as_value(candidates(override)[0])}"


def as_value(value: Any) -> str:
    """A value in Hydra's notation."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{as_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(as_value(item) for item in value) + "]"
    return quote(str(value))
