"""Packages that some settings need and a plain installation does not bring; asked for before a run starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec

from nimble_lightning.errors import RequestError
from nimble_lightning.export.formats import ExportFormat
from nimble_lightning.runs.request.setting_blocks import blocks
from nimble_lightning.settings import RunSettings

# Logger -> the extra, and the packages of which one will do.
_LOGGERS = {
    "lightning.pytorch.loggers.TensorBoardLogger": ("tensorboard", ("tensorboard", "tensorboardX")),
    "lightning.pytorch.loggers.WandbLogger": ("wandb", ("wandb",)),
    "lightning.pytorch.loggers.MLFlowLogger": ("mlflow", ("mlflow",)),
    "nimble_lightning.loggers.TrackioLogger": ("trackio", ("trackio",)),
}
_ONNX = ExportFormat.ONNX.packages


def check(asked: RunSettings) -> None:
    """Refuse a run that would end for want of a package.

    Raises:
        RequestError: It says which, and what installs it.
    """
    for block in blocks(asked.logger):
        target = block.get("_target_") if isinstance(block, Mapping) else None
        extra, packages = _LOGGERS.get(str(target), ("", ()))
        if extra and not any(map(find_spec, packages)):
            raise RequestError(_missing(f"logger={extra}", packages[:1], extra))
    missing = [name for name in _ONNX if find_spec(name) is None]
    if "onnx" in (asked.export or ()) and missing:
        raise RequestError(_missing("export=[onnx]", missing, "onnx"))


def _missing(setting: str, packages: Iterable[str], extra: str) -> str:
    names = ", ".join(packages)
    return f'{setting} needs {names}, not installed here\nType: pip install "nimble-lightning[{extra}]"'
