"""The user's trainer as a LightningModule.

`train` becomes `training_step`; `evaluate` becomes `validation_step` and `test_step`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor
from typing_extensions import override

from nimble_lightning.adapters import optimizers
from nimble_lightning.adapters.evaluator import Evaluator
from nimble_lightning.adapters.fast_paths import ThinModule, signature_known
from nimble_lightning.adapters.fit_limits import evaluate_at_start, hold_back_evaluation
from nimble_lightning.adapters.model_settings import compile_modules, enable_gradient_checkpointing
from nimble_lightning.adapters.returned_figures import say_once
from nimble_lightning.adapters.step_runner import StepRunner
from nimble_lightning.adapters.training_log import RunningMeans
from nimble_lightning.adapters.training_mode import set_training_mode
from nimble_lightning.adapters.user_trainer import UserTrainer
from nimble_lightning.checkpoint import frozen_weights
from nimble_lightning.errors import TrainerError
from nimble_lightning.ranks import group_of_shares
from nimble_lightning.settings import RunSettings


class NimbleModule(ThinModule):
    """One training step is one optimizer step over one global batch.

    Metrics keep the names that `evaluate` gave them.
    """

    def __init__(self, user: UserTrainer, settings: RunSettings) -> None:
        super().__init__()
        # Lightning's manual optimization: forward, backward and step are ours, so that a batch can be cut,
        # weighted and redone.
        self.automatic_optimization = False
        self.user = user
        self.settings = settings
        self.running = RunningMeans()
        self.stepping = StepRunner(self, user, settings, self.running)
        self._evaluator = Evaluator(user, self.stepping.loss_of)
        self._adopted: dict[str, torch.nn.Module] = {}
        user.send_logs_to(self._log_figure)
        # Earlier than in setup: weight averaging copies the modules, and callbacks are set up before us.
        user.once_prepared(self._adopt_early)

    def __deepcopy__(self, memo: dict[int, Any]) -> NimbleModule:
        # A copy has weights of its own, but there is one trainer, with one set of data.
        memo.update({id(shared): shared for shared in (self.user, self.user.object)})
        copied = memo[id(self)] = type(self).__new__(type(self))
        copied.__dict__.update(copy.deepcopy(self.__getstate__(), memo))
        return copied

    # --- setting up -----------------------------------------------------------------------------------------

    @override
    def configure_callbacks(self) -> list[L.Callback]:
        self.stepping.take_over(self.trainer)
        return []

    @override
    def setup(self, stage: str) -> None:
        self.user.prepare()
        if self.user.method("configure_model") is None:
            self._adopt_modules()
        else:
            # Only then: callbacks such as weight averaging warn about any model that overrides this.
            setattr(self, "configure_model", self._configure_model)  # noqa: B010

    def _configure_model(self) -> None:
        if not self._adopted and (configure := self.user.method("configure_model")) is not None:
            self.user.object.device_mesh = self.device_mesh
            configure()
            self._adopt_modules()

    @override
    def configure_optimizers(self) -> Any:
        configured = optimizers.configure(
            self.user, self.settings, self.trainer, self.stepping.arguments.accumulate
        )
        self.stepping.plateau = configured.plateau
        hold_back_evaluation(self.trainer, self.settings.evaluation)
        return configured.for_lightning

    def _adopt_early(self) -> None:
        if not self.user.trains_by_itself and self.user.method("configure_model") is None:
            self._adopt_modules()

    def _adopt_modules(self) -> None:
        """Make the trainer's modules ours; once, because compiling is."""
        if self._adopted:
            return
        self._adopted = self.user.modules()
        if not self._adopted:
            raise TrainerError(
                f"{self.user.name} has nothing to train. Set self.model = <torch.nn.Module> in pre_process."
            )
        for name, module in self._adopted.items():
            set_training_mode(module, name)
            self.add_module(name, module)
        if self.settings.model.gradient_checkpointing:
            enable_gradient_checkpointing(self, self.settings.model.gradient_checkpointing)
        if self.settings.model.compile:
            for module in self._adopted.values():
                compile_modules(module, self.settings.model.compile)

    # --- training -------------------------------------------------------------------------------------------

    @override
    def on_train_start(self) -> None:
        self.stepping.start()
        evaluate_at_start(self.trainer, self.settings.evaluation)

    @override
    def on_train_epoch_start(self) -> None:
        self.stepping.start_of_epoch()

    @override
    @signature_known
    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        return {"loss": self.stepping.run(batch)}

    def loss_of_piece(self, piece: Any, samples: int) -> tuple[Tensor, float]:
        """For strategies that go through the model as a whole."""
        return self.stepping.loss_of(piece, samples)

    @override
    def on_train_epoch_end(self) -> None:
        self.stepping.end_of_epoch()

    @override
    def on_fit_end(self) -> None:
        self.stepping.end(self.trainer)

    # --- evaluation -----------------------------------------------------------------------------------------

    @override
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(batch, "evaluate", self.trainer.val_dataloaders, dataloader_idx)

    @override
    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        method = "evaluate" if self.user.method("test") is None else "test"
        self._evaluate(batch, method, self.trainer.test_dataloaders, dataloader_idx)

    @override
    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        predict = self.user.method("predict")
        if predict is None:
            raise TrainerError(f"{self.user.name} has no predict(self, batch).")
        return predict(batch)

    @override
    def on_validation_epoch_end(self) -> None:
        metrics = self._end_evaluation("eval", self.trainer.val_dataloaders)
        if "loss" in metrics:
            if "val_loss" in metrics:
                raise TrainerError(
                    "evaluate returned both 'loss', which is called val_loss, and 'val_loss'; rename one."
                )
            metrics["val_loss"] = metrics.pop("loss")
        self._report(metrics)
        if self.trainer.training or self.trainer.state.fn == "fit":
            self.stepping.end_of_validation(metrics, self.higher_is_better)

    @property
    def batches_a_step(self) -> int:
        """How many batches an optimizer step takes in this fit."""
        return self.stepping.arguments.accumulate

    @property
    def higher_is_better(self) -> Mapping[str, bool]:
        """What torchmetrics objects say of the figures they gave."""
        return self._evaluator.higher_is_better

    @override
    def on_test_epoch_end(self) -> None:
        metrics = self._end_evaluation("test", self.trainer.test_dataloaders)
        self._report({f"test_{name.removeprefix('val_')}": value for name, value in metrics.items()})

    def _evaluate(self, batch: Any, method: str, loaders: Any, index: int) -> None:
        loader = loaders[index] if isinstance(loaders, list) else loaders
        # Fewer samples than ranks: each rank sees them all, one counts them.
        repeated = getattr(loader, "replicated", False)
        self._evaluator.add(
            batch, method, getattr(loader, "part", ""), repeated=repeated, rank=self.trainer.global_rank
        )

    def _end_evaluation(self, data: str, loaders: Any) -> dict[str, float]:
        parts = [getattr(loader, "part", "") for loader in loaders] if isinstance(loaders, list) else [""]
        return self._evaluator.figures(parts, self.device, group_of_shares(self.trainer.strategy), data)

    def _report(self, metrics: dict[str, float]) -> None:
        if self.trainer.barebones:
            return
        # Lightning keeps numbers as float32, but tensors as they are.
        kind = torch.float32 if self.device.type == "mps" else torch.float64
        exact = {name: torch.tensor(value, dtype=kind, device=self.device) for name, value in metrics.items()}
        # Equal on all ranks already; the largest of equal numbers is that number to the last bit.
        self.log_dict(exact, prog_bar=True, sync_dist=True, reduce_fx="max")

    def _log_figure(self, name: str, value: Any) -> None:
        if self._evaluator.takes(name, value):
            return
        if self.running.in_step:
            self.running.add(name, value)
        else:
            say_once(
                f"self.log({name!r}, ...) is not recorded here: it is for train(self, batch), evaluate and "
                "compute_metrics. Keep a number of the whole run as an attribute, or print it"
            )

    # --- checkpoints ----------------------------------------------------------------------------------------

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.setdefault("nimble", {}).update(
            self.stepping.state_dict() | {"running": self.running.state_dict()}
        )
        if frozen := frozen_weights.names_of(self, checkpoint.get("state_dict", {})):
            checkpoint["nimble"][frozen_weights.KEY] = frozen

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get("nimble", {})
        self.stepping.load_state_dict(state)
        self.running.load_state_dict(state.get("running", {}))
