"""Metrics to trackio, a tracker that keeps everything on this machine unless told otherwise."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers.logger import Logger
from lightning_utilities.core.rank_zero import rank_zero_only
from typing_extensions import override

from nimble_lightning.errors import RequestError
from nimble_lightning.loggers._local import to_floats
from nimble_lightning.ops.lightning_packages import serves_both


@serves_both
class TrackioLogger(Logger):
    """Logs to a trackio run; an attempt that resumes goes on with the run of the same name.

    Args:
        project: The project's name.
        name: The run's name; trackio makes one up unless given.
        options: Passed on to `trackio.init` (`space_id`, `group`, ...).

    Raises:
        RequestError: trackio is not installed.
    """

    def __init__(self, project: str = "nimble", name: str | None = None, **options: Any) -> None:
        super().__init__()
        if find_spec("trackio") is None:
            raise RequestError("TrackioLogger needs trackio: pip install 'nimble-lightning[trackio]'")
        self._project = project
        self._name = name
        self._options = options
        self._config: dict[str, Any] = {}
        self._run: Any = None

    @property
    @override
    def name(self) -> str:
        return self._project

    @property
    @override
    def version(self) -> str | None:
        return self._name

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The trackio run, begun at first use."""
        if self._run is None:
            import trackio

            options = {"resume": "allow", **self._options}
            self._run = trackio.init(project=self._project, name=self._name, config=self._config, **options)
        return self._run

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.experiment.log(to_floats(metrics), step=step)

    @override
    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        self._config.update(vars(params) if isinstance(params, Namespace) else params)

    @override
    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_run": None}
