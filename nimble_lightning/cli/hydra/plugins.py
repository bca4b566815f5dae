"""Our launcher and our sweepers, where Hydra looks for such."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

from hydra.core.plugins import Plugins

from nimble_lightning.cli.hydra.grid_sweeper import Grid
from nimble_lightning.cli.hydra.launcher import SideBySide
from nimble_lightning.cli.hydra.search_sweeper import Search

# Hydra takes plugins from packages below this one only, whoever registers them.
_PLACE = "hydra_plugins"


def register() -> None:
    """Make them known to Hydra."""
    try:
        package = import_module(_PLACE)
    except ModuleNotFoundError:
        package = sys.modules[_PLACE] = ModuleType(_PLACE)
        package.__path__ = []
    home = ModuleType(f"{_PLACE}.nimble_lightning")
    vars(package)["nimble_lightning"] = sys.modules[home.__name__] = home
    for plugin in (SideBySide, Grid, Search):
        vars(home)[plugin.__name__] = plugin
        plugin.__module__ = home.__name__
        Plugins.instance().register(plugin)
