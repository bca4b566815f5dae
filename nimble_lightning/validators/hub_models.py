"""Models in the folders and on the Hub of Hugging Face, loaded as the trained model's kind."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import nn

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.similar_names import unknown

log = logging.getLogger(__name__)

_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def is_model_folder(place: Path) -> bool:
    """Whether a folder is one that `from_pretrained` reads."""
    return (place / "config.json").is_file()


def require(name: str, known: Collection[str]) -> None:
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


def load(name: str, trained: nn.Module) -> nn.Module:
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
