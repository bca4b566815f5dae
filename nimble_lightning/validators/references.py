"""Find the model that a reference names.

A reference is a run, a checkpoint, weights, a folder or Hub id, or the trainer's own baseline.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.ops.similar_names import unknown
from nimble_lightning.validators import reference_weights
from nimble_lightning.validators.evaluated_run import Run
from nimble_lightning.validators.measurement import Measured
from nimble_lightning.validators.models import models

BASELINE = "baseline"
UNTRAINED = "the untrained model"


log = logging.getLogger(__name__)
_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


@dataclass
class References:
    """Finds and evaluates what a run is compared with; each only once.

    Args:
        names: As they were given.
    """

    names: tuple[str, ...]
    _untrained: dict[str, nn.Module] = field(default_factory=dict)
    _measured: dict[str, Measured] = field(default_factory=dict)

    def begin(self, run: Run) -> None:
        """Refuse what cannot be found; keep the untrained model where it is what counts."""
        if run.module is not None and not run.evaluates:
            raise RequestError("There is no data to compare on. Set self.eval_data in pre_process.")
        for name in self.names:
            if name == BASELINE:
                self._begin_baseline(run)
            else:
                require(name)

    def are_figures(self, run: Run) -> bool:
        """Whether the trainer itself says what to compare with, so that nothing has to be evaluated."""
        return self.names == (BASELINE,) and _has_baseline(run)

    def told(self, name: str, run: Run) -> str:
        """What a reference is called in a sentence."""
        if name != BASELINE:
            return name
        return "baseline()" if _has_baseline(run) else UNTRAINED

    def measured(self, name: str, run: Run) -> Measured:
        """What a reference reaches on the data that the run was evaluated on."""
        if name not in self._measured:
            self._measured[name] = self._baseline(run) if name == BASELINE else self._evaluated(name, run)
        return self._measured[name]

    def _evaluated(self, name: str, run: Run) -> Measured:
        return run.evaluate(load(name, run))

    def _baseline(self, run: Run) -> Measured:
        user = run.user
        if user is None or not _has_baseline(run):
            return run.evaluate(self._untrained)
        if user.takes_batch(BASELINE):
            return run.evaluate(by=BASELINE)
        returned = user.run(BASELINE)
        return run.evaluate(returned) if isinstance(returned, nn.Module) else _as_measured(returned)

    def _begin_baseline(self, run: Run) -> None:
        # Where train does everything itself, the model may only be made in it.
        if _has_baseline(run) or run.module is None:
            return
        if not run.modules:
            raise RequestError(
                "The untrained model is not there before configure_model. Name what to compare with: "
                "validator.reference=..."
            )
        self._untrained = {name: copy.deepcopy(module) for name, module in run.modules.items()}


def require(name: str) -> None:
    """Refuse a reference that cannot be found, before anything is trained."""
    given = models.resolve(name)
    place = Path(given).expanduser()
    if not place.exists():
        require_on_hub(given, models)
    elif not is_model_folder(place):
        reference_weights.require(place)


def load(name: str, run: Run) -> Mapping[str, nn.Module]:
    """The modules of a reference, by the names that the trained ones have."""
    given = models.resolve(name)
    place = Path(given).expanduser()
    if place.exists() and not is_model_folder(place):
        return reference_weights.load(place, run)
    main = run.main
    return {main: load_from_hub(given, run.modules[main])}


def _has_baseline(run: Run) -> bool:
    return run.user is not None and run.user.method(BASELINE) is not None


def _as_measured(returned: Any) -> Measured:
    """Figures, or values per sample, that `baseline` returned."""
    if not isinstance(returned, Mapping) or not returned:
        raise TrainerError(
            f"baseline returned {type(returned).__name__}; expected a module, or metrics by name: a number, "
            "or one value per sample."
        )
    values = {name: _array(value) for name, value in returned.items()}
    samples = {n: v for n, v in values.items() if v.ndim == 1}
    shares = frozenset(n for n, v in samples.items() if np.isin(v, (0, 1)).all())
    return Measured({n: float(v.mean()) for n, v in values.items()}, samples, shares)


def _array(value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=np.float64)


def is_model_folder(place: Path) -> bool:
    """Whether a folder is one that `from_pretrained` reads."""
    return (place / "config.json").is_file()


def require_on_hub(name: str, known: Collection[str]) -> None:
    """Refuse what is on no Hub that can be reached, nor in the cache."""
    if not _ID.fullmatch(name):
        raise RequestError(f"The reference {name} does not exist. Give a run folder, weights, or a Hub id.")
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise RequestError(
            f"{unknown('reference', name, known)}\nIt is no path here, and no model on the Hub: "
            f"{str(error).splitlines()[0]}"
        ) from None


def load_from_hub(name: str, trained: nn.Module) -> nn.Module:
    """A model for the same task as the trained one; code from the Hub is never run.

    A head that the reference does not have starts untrained, and that is said.
    """
    from transformers import PreTrainedModel

    if not isinstance(trained, PreTrainedModel):
        raise RequestError(
            f"{name} is a Hugging Face model, and the trained one is a {type(trained).__name__}. "
            "Load it in baseline(self), and return a module that takes the same input."
        )
    labels = {"num_labels": trained.config.num_labels} if "Classification" in type(trained).__name__ else {}
    model, facts = _auto_class(trained).from_pretrained(
        name, output_loading_info=True, ignore_mismatched_sizes=bool(labels), **labels
    )
    new = [*facts["missing_keys"], *facts["mismatched_keys"]]
    if new:
        log.warning("%s has no %s of its own for this task: it is evaluated untrained there", name, new[0])
    return model  # type: ignore[no-any-return]


def _auto_class(trained: nn.Module) -> Any:
    """The class that chooses among models for the task; the trained one's own if it is listed nowhere."""
    from transformers.models.auto import modeling_auto

    for name, auto in vars(modeling_auto).items():
        # From model types to class names; asking for the classes would import every one of them.
        listed = getattr(getattr(auto, "_model_mapping", None), "_model_mapping", {})
        if name.startswith("AutoModel") and type(trained).__name__ in listed.values():
            return auto
    return type(trained)
