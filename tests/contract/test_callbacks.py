"""What every callback of ours must do; one that is listed in `nimble_lightning.callbacks` is tested here."""

from __future__ import annotations

import inspect
import logging
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar

import nimble_lightning.callbacks as ours
from nimble_lightning.callbacks._guard import guarded
from nimble_lightning.errors import RequestError

pytestmark = pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning")
# What a callback needs that has arguments without a default.
ARGUMENTS: dict[str, dict[str, object]] = {}
HOOKS = [name for name in vars(Callback) if not name.startswith("_") and name != "state_key"]


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def pl(request: pytest.FixtureRequest) -> SimpleNamespace:
    """One of the two packages that Lightning comes as, and what is trained with it."""
    package = import_module(request.param)
    boring = import_module(f"{request.param}.demos.boring_classes")

    class Model(boring.BoringModel):
        """Boring, and with something to monitor."""

        def training_step(self, batch, batch_idx):
            output = super().training_step(batch, batch_idx)
            self.log("train_loss", output["loss"])
            return output

        def validation_step(self, batch, batch_idx):
            output = super().validation_step(batch, batch_idx)
            self.log("val_loss", output["x"])
            return output

    return SimpleNamespace(
        Trainer=package.Trainer,
        Callback=package.Callback,
        callbacks=package.callbacks,
        BoringModel=boring.BoringModel,
        DataModule=boring.BoringDataModule,
        Model=Model,
    )


def make(name: str) -> Callback:
    return getattr(ours, name)(**ARGUMENTS.get(name, {}))


def trainer(pl: SimpleNamespace, callback: Callback, **options: object) -> Any:
    quiet = {"logger": False, "enable_model_summary": False}
    few = {"max_epochs": 1, "limit_train_batches": 3, "limit_val_batches": 2, "num_sanity_val_steps": 0}
    return pl.Trainer(callbacks=[callback], accelerator="cpu", **{**quiet, **few, **options})


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
    assert len(inspect.signature(getattr(ours, name)).parameters) <= 8


@pytest.mark.parametrize("name", ours.__all__)
def test_it_survives_two_fits_and_a_test_without_a_logger(pl: SimpleNamespace, name: str) -> None:
    lightning = trainer(pl, make(name))
    lightning.fit(pl.Model(), datamodule=pl.DataModule())
    lightning.fit_loop.max_epochs = 2
    lightning.fit(pl.Model(), datamodule=pl.DataModule())
    lightning.test(pl.Model(), datamodule=pl.DataModule(), verbose=False)
    assert lightning.state.finished


@pytest.mark.parametrize("name", ours.__all__)
def test_it_survives_a_trial_run(pl: SimpleNamespace, name: str) -> None:
    lightning = trainer(pl, make(name), fast_dev_run=True)
    lightning.fit(pl.Model(), datamodule=pl.DataModule())
    assert lightning.state.finished


@pytest.mark.parametrize("name", ours.__all__)
def test_it_survives_a_bare_trainer(pl: SimpleNamespace, name: str) -> None:
    if issubclass(getattr(ours, name), ProgressBar | Checkpoint):
        pytest.skip("a bare trainer refuses every progress bar and checkpoint itself")
    lightning = pl.Trainer(barebones=True, callbacks=[make(name)], accelerator="cpu", max_steps=2)
    lightning.fit(pl.BoringModel(), datamodule=pl.DataModule())
    assert lightning.state.finished


@pytest.mark.parametrize("name", ours.__all__)
def test_an_error_before_its_setup_stays_the_error(pl: SimpleNamespace, name: str) -> None:
    class Broken(pl.DataModule):
        def setup(self, stage):
            raise KeyError("no such data")

    with pytest.raises(KeyError, match="no such data"):
        trainer(pl, make(name)).fit(pl.Model(), datamodule=Broken())


@pytest.mark.parametrize("name", ours.__all__)
def test_its_state_makes_the_way_through_a_checkpoint(pl: SimpleNamespace, name: str, tmp_path: Path) -> None:
    first = trainer(pl, make(name))
    first.fit(pl.Model(), datamodule=pl.DataModule())
    first.save_checkpoint(tmp_path / "some.ckpt", weights_only=False)
    second = trainer(pl, make(name), max_epochs=2)
    second.fit(pl.Model(), datamodule=pl.DataModule(), ckpt_path=tmp_path / "some.ckpt", weights_only=True)
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


def test_a_guarded_callback_that_fails_never_fails_the_run(
    pl: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    lightning = trainer(pl, Clumsy())
    with caplog.at_level(logging.WARNING):
        lightning.fit(pl.Model(), datamodule=pl.DataModule())
    assert lightning.state.finished
    said = [record.getMessage() for record in caplog.records if "Clumsy" in record.getMessage()]
    assert len(said) == 3, "once for each hook that failed"
    assert any("on_train_batch_end" in text and "OSError: in a step" in text for text in said)


def test_a_guarded_callback_that_fails_does_not_hide_the_users_error(pl: SimpleNamespace) -> None:
    class Fails(pl.Model):
        def training_step(self, batch, batch_idx):
            raise ZeroDivisionError("the real one")

    with pytest.raises(ZeroDivisionError, match="the real one"):
        trainer(pl, Clumsy()).fit(Fails(), datamodule=pl.DataModule())


def test_a_request_that_cannot_be_met_is_still_refused_by_setup(pl: SimpleNamespace) -> None:
    clumsy = Clumsy()
    clumsy.refusal = RequestError("no such place")
    with pytest.raises(RequestError, match="no such place"):
        trainer(pl, clumsy).fit(pl.Model(), datamodule=pl.DataModule())


@pytest.mark.parametrize("name", ["Progress", "BestCheckpoint"])
def test_a_trainer_takes_it_for_one_of_its_own_and_adds_none(pl: SimpleNamespace, name: str) -> None:
    kind = pl.callbacks.ProgressBar if name == "Progress" else pl.callbacks.Checkpoint
    lightning = trainer(pl, make(name))
    assert [type(each).__name__ for each in lightning.callbacks if isinstance(each, kind)].count(name) == 1
    assert len([each for each in lightning.callbacks if isinstance(each, kind)]) == 1
    assert name == "Progress" or type(lightning.callbacks[-1]).__name__ == name
