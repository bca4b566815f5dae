"""In a run of ours `import pytorch_lightning` means `lightning.pytorch`: a project may use either name.

Both hold the same code. Of two copies of it, one Trainer would take no module of the other.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_NAMES = {"pytorch_lightning": "lightning.pytorch", "lightning_fabric": "lightning.fabric"}


def alias_lightning() -> None:
    """From now on, unless this process has imported a package of that name already."""
    if not _NAMES.keys() & sys.modules.keys() and not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname.partition(".")[0] in _NAMES else None

    def exec_module(self, module: ModuleType) -> None:
        package, dot, rest = module.__name__.partition(".")
        # Whoever imports is given what is registered by then.
        sys.modules[module.__name__] = importlib.import_module(f"{_NAMES[package]}{dot}{rest}")
