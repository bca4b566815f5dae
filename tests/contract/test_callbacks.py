"""What every callback of ours must do; one that is listed in `nimble_lightning.callbacks` is tested here."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path

import lightning as L
import pytest
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

import nimble_lightning.callbacks as ours
from nimble_lightning.callbacks._guard import guarded
from nimble_lightning.errors import RequestError

# What a callback needs that has arguments without a default.
ARGUMENTS: dict[str, dict[str, object]] = {}
HOOKS = [name for name in vars(Callback) if not name.startswith("_") and name != "state_key"]


class Model(BoringModel):
    """Boring, and with something to monitor."""

    def training_step(self, batch, batch_idx):
        output = super().training_step(batch, batch_idx)
        self.log("train_loss", output["loss"])
        return output

    def validation_step(self, batch, batch_idx):
        output = super().validation_step(batch, batch_idx)
        self.log("val_loss", output["x"])
        return output


def make(name: str) -> Callback:
    return getattr(ours, name)(**ARGUMENTS.get(name, {}))


def trainer(callback: Callback, **options: object) -> L.Trainer:
    quiet = {"logger": False, "enable_model_summary": False}
    few = {"max_epochs": 1, "limit_train_batches": 3, "limit_val_batches": 2, "num_sanity_val_steps": 0}
    return L.Trainer(callbacks=[callback], accelerator="cpu", **{**quiet, **few, **options})


@pytest.mark.parametrize("name", ours.__all__)
def test_every_hook_has_lightnings_signature(name: str) -> None:
    for hook in HOOKS:
        wanted = inspect.signature(getattr(Callback, hook))
        given = inspect.signature(getattr(getattr(ours, name), hook))
        assert list(given.parameters) == list(wanted.parameters), hook
        for parameter in wanted.parameters.values():
            assert given.parameters[parameter.name].default == parameter.default, hook


@pytest.mark.parametrize("name", ours.__all__)
def test_there_is_no_hook_lightning_does_not_call(name: str) -> None:
    mine = {hook for hook in dir(getattr(ours, name)) if hook.startswith("on_")}
    assert mine <= set(dir(Callback)), mine - set(dir(Callback))


@pytest.mark.parametrize("name", ours.__all__)
def test_a_constructor_takes_a_handful_of_arguments(name: str) -> None:
    assert len(inspect.signature(getattr(ours, name)).parameters) <= 7


@pytest.mark.parametrize("name", ours.__all__)
def test_it_survives_two_fits_and_a_test_without_a_logger(name: str) -> None:
    lightning = trainer(make(name))
    lightning.fit(Model(), datamodule=BoringDataModule())
    lightning.fit_loop.max_epochs = 2
    lightning.fit(Model(), datamodule=BoringDataModule())
    lightning.test(Model(), datamodule=BoringDataModule(), verbose=False)
    assert lightning.state.finished


@pytest.mark.parametrize("name", ours.__all__)
def test_it_survives_a_trial_run(name: str) -> None:
    lightning = trainer(make(name), fast_dev_run=True)
    lightning.fit(Model(), datamodule=BoringDataModule())
    assert lightning.state.finished


@pytest.mark.parametrize("name", ours.__all__)
def test_it_survives_a_bare_trainer(name: str) -> None:
    if issubclass(getattr(ours, name), ProgressBar | Checkpoint):
        pytest.skip("a bare trainer refuses every progress bar and checkpoint itself")
    lightning = L.Trainer(barebones=True, callbacks=[make(name)], accelerator="cpu", max_steps=2)
    lightning.fit(BoringModel(), datamodule=BoringDataModule())
    assert lightning.state.finished


@pytest.mark.parametrize("name", ours.__all__)
def test_an_error_before_its_setup_stays_the_error(name: str) -> None:
    class Broken(BoringDataModule):
        def setup(self, stage):
            raise KeyError("no such data")

    with pytest.raises(KeyError, match="no such data"):
        trainer(make(name)).fit(Model(), datamodule=Broken())


@pytest.mark.parametrize("name", ours.__all__)
def test_its_state_makes_the_way_through_a_checkpoint(name: str, tmp_path: Path) -> None:
    first = trainer(make(name))
    first.fit(Model(), datamodule=BoringDataModule())
    first.save_checkpoint(tmp_path / "some.ckpt", weights_only=False)
    second = trainer(make(name), max_epochs=2)
    second.fit(Model(), datamodule=BoringDataModule(), ckpt_path=tmp_path / "some.ckpt", weights_only=True)
    assert second.state.finished


@guarded
class Clumsy(Callback):
    """Fails in every hook it has."""

    def setup(self, trainer, pl_module, stage):
        raise self.refusal if hasattr(self, "refusal") else OSError("in setup")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        raise OSError("in a step")

    def on_train_end(self, trainer, pl_module):
        raise OSError("at the end")

    def on_exception(self, trainer, pl_module, exception):
        raise OSError("in the error's face")


def test_a_guarded_callback_that_fails_never_fails_the_run(caplog: pytest.LogCaptureFixture) -> None:
    lightning = trainer(Clumsy())
    with caplog.at_level(logging.WARNING):
        lightning.fit(Model(), datamodule=BoringDataModule())
    assert lightning.state.finished
    said = [record.getMessage() for record in caplog.records if "Clumsy" in record.getMessage()]
    assert len(said) == 3, "once for each hook that failed"
    assert any("on_train_batch_end" in text and "OSError: in a step" in text for text in said)


def test_a_guarded_callback_that_fails_does_not_hide_the_users_error() -> None:
    class Fails(Model):
        def training_step(self, batch, batch_idx):
            raise ZeroDivisionError("the real one")

    with pytest.raises(ZeroDivisionError, match="the real one"):
        trainer(Clumsy()).fit(Fails(), datamodule=BoringDataModule())


def test_a_request_that_cannot_be_met_is_still_refused_by_setup() -> None:
    clumsy = Clumsy()
    clumsy.refusal = RequestError("no such place")
    with pytest.raises(RequestError, match="no such place"):
        trainer(clumsy).fit(Model(), datamodule=BoringDataModule())
