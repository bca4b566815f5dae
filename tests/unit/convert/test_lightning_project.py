"""Settings of Lightning projects as command lines that train the same modules."""

from __future__ import annotations

from pathlib import Path

import pytest
from converted_settings import composed, left_out, printed

MODULE = """
import lightning as L
class Model(L.LightningModule):
    def __init__(self, net, optimizer=None, width: int = 1): ...
class Data(L.LightningDataModule):
    def __init__(self, batch_size: int = 1, width: int = 1): ...
"""
LIGHTNING_CLI = """
seed_everything: 7
trainer:
  max_epochs: 3
  devices: null
  strategy: {class_path: lightning.pytorch.strategies.DDPStrategy, init_args: {static_graph: true}}
  default_root_dir: here
  callbacks:
    - {class_path: lightning.pytorch.callbacks.LearningRateMonitor, init_args: {logging_interval: step}}
    - class_path: lightning.pytorch.callbacks.RichProgressBar
  logger: {class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: logs}}
model:
  class_path: project.Model
  init_args:
    width: 2
    net: {class_path: torch.nn.Sequential, dict_kwargs: {}}
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.05}}
data: {class_path: project.Data, init_args: {batch_size: 16, width: 3}}
ckpt_path: last.ckpt
"""


def test_a_yaml_of_a_lightning_cli(capsys: pytest.CaptureFixture[str]) -> None:
    Path("project.py").write_text(MODULE)
    text = printed(LIGHTNING_CLI, capsys)
    config = composed(text)
    assert config["trainer"] == "project:Model"
    assert config["datamodule"] == "project:Data"
    assert config["params"] == {
        "width": 2,
        "net": {"_target_": "torch.nn.Sequential"},
        "optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.05},
        "batch_size": 16,
    }
    monitor = {"_target_": "lightning.pytorch.callbacks.LearningRateMonitor", "logging_interval": "step"}
    assert config["callbacks"]["learning_rate_monitor"] == monitor
    assert set(config["logger"]) == {"jsonl", "csv"}
    assert (config["seed"], config["lightning"]["max_epochs"]) == (7, 3)
    assert config["lightning"]["strategy"]["static_graph"] is True
    assert left_out(text) == {
        *("callbacks.rich_progress_bar", "trainer.default_root_dir", "data.width", "ckpt_path")
    }
    assert "# It runs torch.optim.SGD" in text


def test_a_subcommand_of_a_lightning_cli_and_limits_of_lightnings_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("my_module.py").write_text(MODULE.replace("net, ", "").replace("class Data", "class my_data"))
    text = printed("fit:\n  seed_everything: true\n  trainer: {}\n  model: {width: 4}\n", capsys)
    assert "params.width=4" in text
    assert "trainer.max_epochs none: lightning.max_epochs=1000 (ours: 10)" in text
    assert left_out(text) == {"model", "seed_everything"}


def test_what_a_project_with_hydra_has_composed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("project.py").write_text(MODULE)
    text = printed(
        """
        task_name: train
        model:
          _target_: project.Model
          net: {_target_: torch.nn.Linear, in_features: 2, out_features: 1}
          optimizer: {_target_: torch.optim.Adam, _partial_: true, lr: 0.001}
        data: {_target_: project.Data, batch_size: 4}
        callbacks:
          early: {_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val_loss}
          nothing: null
        trainer: {_target_: lightning.pytorch.trainer.Trainer, max_steps: 10, precision: "${other}"}
        seed: 12345
        """,
        capsys,
    )
    config = composed(text)
    assert config["params"]["net"] == {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 1}
    assert config["params"]["optimizer"]["_partial_"] is True
    assert config["callbacks"]["early"]["monitor"] == "val_loss"
    assert (config["lightning"]["max_steps"], config["seed"]) == (10, 12345)
    assert left_out(text) == {"trainer.precision"}, "a reference that nobody has resolved"
