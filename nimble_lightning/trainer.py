"""The class people write. It imports nothing of ours: a class that merely has these methods works as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class NimbleTrainer:
    """Four methods make a run.

    `pre_process` prepares data and model, `train` turns a batch into a loss, `evaluate` turns a batch into
    metrics, `predict_and_show` yields a few results for people. Any `torch.nn.Module` kept as an attribute is
    moved to the device, trained and checkpointed.

    Models train in training mode, though `from_pretrained` gives them in eval mode. To keep a part in eval
    mode, freeze it as well: `part.eval().requires_grad_(False)`.

    Optional methods, looked up by name and only if you define them: `configure_optimizers`,
    `configure_model`, `train_dataloader`, `eval_dataloader`, `test_dataloader`, `holdout_dataloader`,
    `collate`, `compute_loss`, `compute_metrics`, `preprocess_logits_for_metrics`, `test`, `predict`,
    `baseline`.

    Example::

        class MyTrainer(NimbleTrainer):
            def pre_process(self, *, hidden: int = 64):
                self.train_data, self.eval_data = load()
                self.model = Net(hidden)

            def train(self, batch):
                x, y = batch
                return cross_entropy(self.model(x), y)
    """

    # In a search the trial this run is, as Optuna has it: `number`, `params`, `report()`, `should_prune()`.
    trial: Any = None
    # Under strategy=model_parallel what `configure_model` cuts layers over, as Lightning has it: a DeviceMesh
    # with the dimensions `data_parallel` and `tensor_parallel`. None in a single process, as for an export.
    device_mesh: Any = None
    _sink: Callable[[str, Any], None] | None = None

    def pre_process(self, *args: Any, **kwargs: Any) -> Any:
        """Download, tokenise, build the datasets and the model. Its keywords are the run's parameters."""

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """The loss of a batch, or a whole training loop of your own.

        `train(self, batch)` returns the mean loss of a batch, or `loss, num_items`, or what a Hugging Face
        model returned. `train(self, **kwargs)` is called once and trains by itself.
        """
        raise NotImplementedError(f"{type(self).__name__} has no train(self, batch)")

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """The metrics of a batch, by name.

        Each is a value per sample, a mean over the batch, or a torchmetrics object.
        `compute_metrics(metrics)` gets the means by name and may add to them; `compute_metrics(eval_pred)`
        gets all predictions and labels, as transformers' `EvalPrediction`. With
        `self.eval_data = {"a": ..., "b": ...}` the figures of each set begin with its name.
        """

    def predict_and_show(self, *args: Any, **kwargs: Any) -> Any:
        """Yield a few human-readable results, each alone or as `caption, result`.

        The best weights are loaded.
        """

    def log(self, name: str, value: Any) -> None:
        """Record a number.

        In `train` its mean since the previous record is logged; in `evaluate`, as `val_NAME`, its mean over
        all samples. Elsewhere it is not recorded, which is said.
        """
        if self._sink is not None:
            self._sink(name, value)


def param(
    default: T,
    *,
    low: float | None = None,
    high: float | None = None,
    log: bool = False,
    step: float | None = None,
    choices: Sequence[Any] | None = None,
    when: Mapping[str, Any] | None = None,
) -> T:
    """Declare where to search, beside the default; in a run that searches for nothing it is the default.

    Args:
        default: The value unless another is given.
        low: The smallest value.
        high: The largest.
        log: Whether its order of magnitude counts rather than its size.
        step: The distance of values.
        choices: The values there are, instead of a range.
        when: Search for it only while other parameters have these values.

    Example::

        def pre_process(self, *, lr: float = param(1e-3, low=1e-5, high=1e-1, log=True)): ...
    """
    return default
