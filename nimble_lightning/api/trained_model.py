"""The model of a run with its weights, to be evaluated on its data or on other data."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from typing_extensions import override

from nimble_lightning.adapters import NimbleData
from nimble_lightning.adapters.evaluation import figures
from nimble_lightning.api.load import best_checkpoint, built, give_weights
from nimble_lightning.api.prediction_file import Row, rows_of
from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.ops.batches import size_of
from nimble_lightning.ops.similar_names import require
from nimble_lightning.report.shipped_defaults import merged
from nimble_lightning.run_folder import JOB
from nimble_lightning.runs.trust import TrustTerms, vouched
from nimble_lightning.settings import RunSettings
from nimble_lightning.worker.lightning_objects import Parts, made
from nimble_lightning.worker.output import levels
from nimble_lightning.worker.seeds import seed_all

log = logging.getLogger(__name__)

# Of lightning.Trainer's arguments, those on which a figure of a trained model depends; the limits first.
_OF_EVALUATION = ("limit_val_batches", "limit_test_batches")
_OF_PREDICTION = ("limit_predict_batches",)
_OF_BOTH = ("fast_dev_run", "overfit_batches")
_OF_RUN = (
    *(*_OF_EVALUATION, *_OF_PREDICTION, *_OF_BOTH),
    *("accelerator", "precision", "deterministic", "inference_mode"),
)
# Those that may be asked for anew.
_LIGHTNING = (*_OF_EVALUATION, *_OF_PREDICTION, "accelerator", "precision")
_DATA = ("eval_batch_size",)


@dataclass(frozen=True)
class Changes:
    """What is asked for differently than the run was.

    Attributes:
        params: Keywords of the trainer's `pre_process`.
        data: Settings of `data`.
        lightning: Arguments of Lightning's Trainer.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    lightning: Mapping[str, Any] = field(default_factory=dict)

    def applied(self, settings: RunSettings) -> RunSettings:
        """The run's settings with these."""
        require("data setting of an evaluation", self.data, _DATA)
        require("lightning setting of an evaluation", self.lightning, _LIGHTNING)
        for name, value in self.data.items():
            if type(value) is not int or value < 1:
                raise RequestError(f"data.{name}={value}: expected a whole number of at least 1.")
        asked = [f"{group}.{name}" for group in ("data", "lightning") for name in getattr(self, group)]
        return replace(
            settings,
            params=merged(settings.params, self.params),
            data=replace(settings.data, **self.data),
            lightning={**settings.lightning, **self.lightning},
            asked=asked,
        )


class TrainedModel:
    """The model of a run with the weights of one of its checkpoints, and the data to ask it about.

    Args:
        parts: Module and data.
        settings: Of the run, with what is asked for differently.
        checkpoint: Where the weights are from.
        step: After which they were saved.
    """

    def __init__(self, parts: Parts, settings: RunSettings, checkpoint: Path, step: int) -> None:
        self.checkpoint = checkpoint
        self.step = step
        self._parts = parts
        self._settings = settings

    @property
    def name(self) -> str:
        """The trainer's."""
        return type(self._parts.module).__name__ if self._parts.user is None else self._parts.user.name

    def evaluate(self) -> dict[str, float]:
        """The figures of its evaluation and, where there is test data, of its test."""
        self._refuse_without_effect(_OF_PREDICTION, "an evaluation")
        trainer, module, data = self._trainer(), self._parts.module, self._parts.data
        found: dict[str, float] = {}
        with _interruptible():
            for act, evaluates in ((trainer.validate, self._evaluates()), (trainer.test, self._tests())):
                if evaluates:
                    found.update(figures(trainer, act(module, datamodule=data, verbose=False)))
        if not found:
            raise RequestError(f"{self.name} has no data to evaluate on. Set self.eval_data in pre_process.")
        self._tell_limits(*_OF_EVALUATION, *_OF_BOTH)
        return found

    def predict(self, take: Callable[[Sequence[Row]], None]) -> int:
        """Hand over one row a sample, in the order of the data; returns how many."""
        self._refuse_without_effect(_OF_EVALUATION, "a prediction")
        user, data = self._parts.user, self._parts.data
        if user is not None and user.method("predict") is None:
            raise RequestError(
                f"{self.name} has no predict(self, batch). Define it: what it returns for each sample of a "
                "batch is written, such as self.model(batch[0])."
            )
        source = self._parts.module if data is None else data
        if not is_overridden("predict_dataloader", source):
            raise RequestError(f"{type(source).__name__} has no predict_dataloader. Define it.")
        rows = _Rows(take)
        with _interruptible():
            self._trainer(rows).predict(self._parts.module, datamodule=data, return_predictions=False)
        if not rows.count:
            raise RequestError(
                f"{self.name} has no data to predict on. Set self.predict_data, test_data or eval_data."
            )
        self._tell_limits(*_OF_PREDICTION, *_OF_BOTH)
        return rows.count

    def _refuse_without_effect(self, names: Sequence[str], what: str) -> None:
        for key in self._settings.asked or ():
            if key.startswith("data.") and not isinstance(self._parts.data, NimbleData):
                raise RequestError(
                    f"{key} would change nothing: the data of {self.name} make their own batches."
                )
            if key.removeprefix("lightning.") in names:
                raise RequestError(f"{key} would change nothing about {what}.")

    def _tell_limits(self, *names: str) -> None:
        """What is right for a comparison with the run may surprise on other data."""
        for name in names:
            if (value := self._settings.lightning.get(name)) and value != 1.0:
                log.warning("lightning.%s=%s: this is of a part of the data", name, value)

    def _trainer(self, *callbacks: L.Callback) -> L.Trainer:
        options = {name: made(v) for name, v in self._settings.lightning.items() if name in _OF_RUN}
        try:
            return L.Trainer(
                devices=1,
                logger=False,
                callbacks=list(callbacks),
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
                **options,
            )
        except (MisconfigurationException, TypeError, ValueError) as error:
            text = str(error).partition("\n")[0]
            raise RequestError(f"{text}\nChoose another: lightning.accelerator=cpu") from None

    def _evaluates(self) -> bool:
        data = self._parts.data
        if isinstance(data, NimbleData):
            return data.has_eval_data
        return self._parts.define("validation_step", "val_dataloader")

    def _tests(self) -> bool:
        data = self._parts.data
        if isinstance(data, NimbleData):
            return data.has_test_data
        return self._parts.define("test_step", "test_dataloader")


@contextmanager
def trained_model(path: Path, terms: TrustTerms, changes: Changes) -> Iterator[TrainedModel]:
    """The model of a run, for as long as the block lasts; random numbers outside go on as they were.

    Args:
        path: A run folder, or one checkpoint in it.
        terms: Who vouches for the folder.
        changes: What is asked for differently than the run was.
    """
    place = path.resolve()
    folder = next((f for f in (place, *place.parents) if (f / JOB).is_file()), None)
    if folder is None:
        raise RequestError(f"{path} is neither a run folder nor a checkpoint in one: there is no {JOB}.")
    run = vouched(folder, terms)
    settings = changes.applied(run.settings)
    where = best_checkpoint(run.job.folder, run.job.run_id, run.claims) if place == folder else place
    # Lightning's remarks on devices and loaders are about our own choices.
    with isolate_rng(), levels("WARNING"):
        seed_all(settings.seed)
        parts = built(run, settings)
        yield TrainedModel(parts, settings, where, give_weights(parts, run, where))


class _Rows(L.Callback):
    """Passes on what is predicted for each batch, with each sample's place in its data."""

    def __init__(self, take: Callable[[Sequence[Row]], None]) -> None:
        self.count = 0
        self._take = take
        self._places: dict[int, int] = {}

    @override
    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        rows = rows_of(outputs, size_of(batch))
        loaders: Any = trainer.predict_dataloaders
        several = isinstance(loaders, list) and len(loaders) > 1
        part = {"data": getattr(loaders[dataloader_idx], "part", dataloader_idx)} if several else {}
        begin = self._places.get(dataloader_idx, 0)
        known = [{"index": index, **part} for index in range(begin, begin + len(rows))]
        if taken := [name for name in known[0] if name in rows[0]]:
            raise TrainerError(
                f"predict returned a column {taken[0]!r}, which says the sample's place; rename it."
            )
        self._take([{**own, **row} for own, row in zip(known, rows, strict=True)])
        self._places[dataloader_idx] = begin + len(rows)
        self.count += len(rows)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C, which Lightning turns into an exit of the process."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as ended:
        if not isinstance(ended.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None
