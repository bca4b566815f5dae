"""What a validator gets to see of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn

from nimble_lightning.adapters import NimbleData, UserTrainer
from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.validators.measurement import Measured, evaluate


@dataclass(frozen=True)
class Run:
    """A run before its training, and again after it.

    Attributes:
        folder: The run folder.
        config: Its configuration, references resolved.
        user: The trainer with the four methods; None for a LightningModule.
        module: What Lightning trains; None where `train` does everything itself.
        data: The run's LightningDataModule.
        trainer: Lightning's; None before training.
        metrics: The final figures; empty before training.
        keep: Callbacks that every evaluation needs.
    """

    folder: Path
    config: Mapping[str, Any]
    user: UserTrainer | None = None
    module: L.LightningModule | None = None
    data: L.LightningDataModule | None = None
    trainer: L.Trainer | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    keep: tuple[L.Callback, ...] = ()

    def ended(self, trainer: L.Trainer | None, metrics: Mapping[str, float]) -> Run:
        """The same run after its training."""
        return replace(self, trainer=trainer, metrics=metrics)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What is trained, by the names of the trainer's attributes; a LightningModule alone is called ""."""
        if self.user is not None:
            return self.user.modules()
        return {} if self.module is None else {"": self.module}

    @property
    def evaluates(self) -> bool:
        """Whether there is data to evaluate on."""
        if isinstance(self.data, NimbleData):
            return self.data.has_eval_data
        return self.module is not None and is_overridden("validation_step", self.module)

    @property
    def main(self) -> str:
        """Under which name the one module is that another model can take the place of."""
        names = [name for name, module in self.modules.items() if any(True for _ in module.parameters())]
        if len(names) == 1 or "model" in names:
            return "model" if "model" in names else names[0]
        raise TrainerError(
            f"A reference takes the place of one module, but there are {', '.join(names) or 'none'}. "
            "Call the one that counts self.model."
        )

    def evaluate(
        self,
        model: nn.Module | Mapping[str, nn.Module] | None = None,
        *,
        data: Any = None,
        by: str = "evaluate",
    ) -> Measured:
        """The run's own evaluation of a model. Every rank has to call this, with the same model.

        Args:
            model: In place of the trained one: a module, or several by name; None evaluates the trained.
            data: A loader; by default what the run was evaluated on.
            by: The trainer's method that takes a batch and returns metrics.
        """
        if self.trainer is None or self.module is None:
            raise RequestError(
                "There is no evaluation to repeat: train does everything itself. "
                "Use validator=threshold, or let baseline(self) return figures."
            )
        given = {} if model is None else model if isinstance(model, Mapping) else {self.main: model}
        source = data if data is not None else self.data
        if source is None:
            source = self.trainer.val_dataloaders
        with self._in_place(given):
            evaluated = given.get("", self.module)
            if not isinstance(evaluated, L.LightningModule):
                raise RequestError("A LightningModule can only be compared with a LightningModule.")
            return evaluate(self.trainer, evaluated, source, self.user, method=by, keep=self.keep)

    def holdout(self) -> Any:
        """A loader over data that nothing else opens; None where there is none."""
        return self.data.holdout_dataloader() if isinstance(self.data, NimbleData) else None

    @contextmanager
    def _in_place(self, given: Mapping[str, nn.Module]) -> Iterator[None]:
        """Other modules where the trained ones are, both for the trainer's methods and for Lightning."""
        if self.user is None or self.module is None:
            yield
            return
        trained = self.modules
        try:
            self._place(given)
            yield
        finally:
            self._place({name: trained[name] for name in given})

    def _place(self, modules: Mapping[str, nn.Module]) -> None:
        for name, module in modules.items():
            setattr(self.user and self.user.object, name, module)
            if self.module is not None:
                self.module.add_module(name, module)
