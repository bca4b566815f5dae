"""What Hydra's launcher for Ray is told by `launch=ray`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from omegaconf import DictConfig

from nimble_lightning.cli.compose import as_value
from nimble_lightning.cli.schema.sections import launch_of
from nimble_lightning.errors import RequestError
from nimble_lightning.settings import Ray


def overrides(config: DictConfig, *, multirun: bool) -> list[str]:
    """For Hydra, to choose and set that launcher; none where Ray is not asked for.

    Raises:
        RequestError: There is no Ray, or no sweep to give it.
    """
    launch = launch_of(config)
    if not isinstance(launch, Ray):
        return []
    if not multirun:
        raise RequestError("launch=ray runs the members of a sweep\nAdd -m, and what is to be varied")
    try:
        version("hydra-ray-launcher")
    except PackageNotFoundError:
        raise RequestError('launch=ray needs Ray: pip install "nimble-lightning[ray]"') from None
    init: dict[str, Any] = {"address": launch.address, "include_dashboard": False}
    if launch.address is not None:
        # The plugin would size a store of objects, which Ray takes for one it starts only.
        init = {"address": launch.address, "object_store_memory": None}
    settings = {"init": init, "remote": {"num_cpus": launch.cpus, "num_gpus": launch.gpus}}
    return ["hydra/launcher=ray", f"++hydra.launcher.ray={as_value(settings)}"]
