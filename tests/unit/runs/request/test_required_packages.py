"""What is not installed is missed before a run starts, with what installs it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.export import formats
from nimble_lightning.report import shipped_defaults
from nimble_lightning.runs.request import setting_blocks
from nimble_lightning.settings import RunSettings


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow", "trackio"])
def test_a_logger_whose_package_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(setting_blocks, "find_spec", lambda package: None)
    with pytest.raises(RequestError, match=rf'(?s)logger={name} needs {name}.*"nimble-lightning\[{name}\]"'):
        setting_blocks.check_packages(RunSettings.from_config(shipped_defaults.block("logger", name)))
    monkeypatch.setattr(setting_blocks, "find_spec", lambda package: package)
    setting_blocks.check_packages(RunSettings.from_config(shipped_defaults.block("logger", name)))


def test_every_shipped_logger_of_others_is_known() -> None:
    targets = [
        shipped_defaults.block("logger", name)["logger"] for name in shipped_defaults.choices("logger")
    ]
    others = {b["_target_"] for t in targets for b in t.values() if not needs_nothing(b)}
    assert others == setting_blocks._LOGGERS.keys()


def needs_nothing(block: dict[str, Any]) -> bool:
    return block["_target_"].endswith(("JSONLLogger", "nimble_lightning.loggers.CSVLogger"))


def test_onnx_is_missed_before_and_not_after_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"onnxscript"}
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name in missing else find_spec("sys"))
    with pytest.raises(RequestError, match=r"export=\[onnx\] needs onnxscript, not installed"):
        setting_blocks.check_packages(RunSettings(export=["safetensors", "onnx"]))
    setting_blocks.check_packages(RunSettings(export=["safetensors"]))
    setting_blocks.check_packages(RunSettings(export=None))
