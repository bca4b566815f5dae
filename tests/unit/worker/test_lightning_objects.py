"""From settings to a Trainer with everything around it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelSummary, TQDMProgressBar
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from nimble_lightning.callbacks import Progress
from nimble_lightning.checkpoint import AsyncNimbleCheckpointIO, NimbleCheckpointIO
from nimble_lightning.errors import RequestError
from nimble_lightning.loggers import JSONLLogger
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.settings import RunSettings
from nimble_lightning.worker.lightning_objects import build_parts, build_trainer, refuse_late_average


def built(**config: Any) -> L.Trainer:
    quiet = {"accelerator": "cpu", "enable_checkpointing": False, "enable_progress_bar": False}
    config["lightning"] = {**quiet, **config.get("lightning", {})}
    return build_trainer(RunSettings.from_config(config), RunFolder(Path("run")), [], attempt=3)


def target(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": name, **arguments}


def test_every_argument_of_the_trainer_goes_to_it_as_it_stands() -> None:
    trainer = built(lightning={"max_epochs": 7, "accumulate_grad_batches": 2, "limit_val_batches": 0.5})
    assert (trainer.max_epochs, trainer.accumulate_grad_batches, trainer.limit_val_batches) == (7, 2, 0.5)


@pytest.mark.parametrize("form", [list, lambda given: given[0], lambda given: dict(enumerate(given))])
def test_callbacks_may_be_given_by_target_in_any_form(form: Any) -> None:
    given = [target("lightning.pytorch.callbacks.LearningRateMonitor")]
    if isinstance(shaped := form(given), dict) and "_target_" not in shaped:
        trainer = built(callbacks=shaped)
    else:
        trainer = built(lightning={"callbacks": shaped})
    assert any(isinstance(callback, LearningRateMonitor) for callback in trainer.callbacks)


def test_a_callback_set_to_null_is_off() -> None:
    summary = target("lightning.pytorch.callbacks.ModelSummary", max_depth=3)
    trainer = built(callbacks={"summary": summary, "other": None}, lightning={"enable_model_summary": False})
    assert sum(isinstance(callback, ModelSummary) for callback in trainer.callbacks) == 1


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        ({"progress": None}, type(None)),
        ({"progress": target("nimble_lightning.callbacks.Progress")}, Progress),
        ({"mine": target("lightning.pytorch.callbacks.TQDMProgressBar")}, TQDMProgressBar),
    ],
)
def test_without_progress_lightning_shows_none_of_its_own(progress: dict[str, Any], shown: type) -> None:
    asked = {"callbacks": progress, "lightning": {"accelerator": "cpu", "enable_checkpointing": False}}
    trainer = build_trainer(RunSettings.from_config(asked), RunFolder(Path("run")), [])
    assert type(trainer.progress_bar_callback) is shown


def test_a_bar_of_lightnings_that_is_asked_for_is_shown() -> None:
    assert built(callbacks={"progress": None}, lightning={"enable_progress_bar": True}).progress_bar_callback


def test_loggers_write_into_the_run_folder_and_know_the_attempt() -> None:
    (logger,) = built(logger={"jsonl": target("nimble_lightning.loggers.JSONLLogger")}).loggers
    assert isinstance(logger, JSONLLogger)
    assert Path(str(logger.save_dir)) == Path("run").resolve()


def test_loggers_can_be_turned_off() -> None:
    jsonl = {"jsonl": target("nimble_lightning.loggers.JSONLLogger")}
    assert built(logger=jsonl, lightning={"logger": False}).loggers == []


def test_checkpoints_are_ours_beside_the_users_plugins() -> None:
    trainer = built(
        lightning={"plugins": [target("lightning.pytorch.plugins.environments.LightningEnvironment")]}
    )
    assert isinstance(trainer.strategy.checkpoint_io, NimbleCheckpointIO)


def test_checkpoints_can_be_saved_while_training_goes_on() -> None:
    trainer = built(checkpoints={"asynchronous": True})
    assert isinstance(trainer.strategy.checkpoint_io, AsyncNimbleCheckpointIO)


def test_a_users_own_way_of_saving_takes_the_place_of_ours() -> None:
    own = target("lightning.pytorch.plugins.io.TorchCheckpointIO")
    assert isinstance(built(lightning={"plugins": [own]}).strategy.checkpoint_io, TorchCheckpointIO)


def test_an_argument_that_does_not_fit_is_a_wrong_request() -> None:
    with pytest.raises(RequestError, match="patiense"):
        built(
            callbacks={"stop": target("lightning.pytorch.callbacks.EarlyStopping", monitor="x", patiense=1)}
        )


@pytest.mark.parametrize("kind", [DDPStrategy, ModelParallelStrategy])
def test_an_average_of_weights_that_are_cut_up_is_refused(kind: type[Strategy]) -> None:
    ema = {"ema": target("lightning.pytorch.callbacks.EMAWeightAveraging")}
    refused = pytest.raises(RequestError, match="choose strategy=ddp")
    with nullcontext() if kind is DDPStrategy else refused:
        built(callbacks=ema, lightning={"strategy": kind()})


def test_an_average_that_comes_after_the_best_weights_is_refused_or_spoken_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    late = {"swa": target("lightning.pytorch.callbacks.StochasticWeightAveraging", swa_lrs=0.1)}
    refuse_late_average(built(), ours=True)
    with pytest.raises(RequestError, match="callbacks.ema=true"):
        refuse_late_average(built(callbacks=late), ours=True)
    refuse_late_average(built(callbacks=late), ours=False)
    assert "StochasticWeightAveraging" not in caplog.text
    best = {"best": target("nimble_lightning.callbacks.BestCheckpoint")}
    refuse_late_average(
        built(callbacks={**late, **best}, lightning={"enable_checkpointing": True}), ours=False
    )
    assert "callbacks.best_checkpoint=null keeps the average" in caplog.text


def test_what_lightning_refuses_is_a_wrong_request(tmp_path: Path) -> None:
    asked = RunSettings(lightning={"accelerator": "cpu", "max_epochs": -3})
    with pytest.raises(RequestError, match="lightning.Trainer refuses its arguments: .*max_epochs"):
        build_trainer(asked, RunFolder(tmp_path), [])


class Described(L.LightningModule):
    def __init__(self, net: torch.nn.Module, optimizer: Any, sizes: dict[str, int]) -> None:
        super().__init__()
        self.net, self.optimizer, self.sizes = net, optimizer, sizes


def test_a_module_gets_the_objects_that_its_parameters_describe() -> None:
    params = {
        "net": {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2},
        "optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.5},
        "sizes": {"width": 4},
    }
    module: Any = build_parts(RunSettings(trainer="some.py", params=params), {}, Described).module
    assert (module.net.in_features, module.sizes) == (3, {"width": 4})
    assert module.optimizer(module.net.parameters()).defaults["lr"] == 0.5


@pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning")
def test_a_module_of_the_other_package_is_refused_by_its_name() -> None:
    other = pytest.importorskip("pytorch_lightning")
    kind = type("Theirs", (other.LightningModule,), {})
    with pytest.raises(RequestError, match="Theirs is a LightningModule of pytorch_lightning"):
        build_parts(RunSettings(trainer="some.py"), {}, kind)
