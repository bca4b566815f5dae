"""All predictions and labels of an evaluation, each once, in the order of the data, on any ranks."""

from __future__ import annotations

import inspect
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree

from nimble_lightning.adapters.returned_figures import is_model_output
from nimble_lightning.errors import TrainerError
from nimble_lightning.ranks import everyones, gathered_by_first

Array = NDArray[Any]

# As transformers pads predictions and labels of unequal length.
_PADDING = -100
# A rank keeps no more than this in memory; what is beyond goes through a file.
_MOST_BYTES = 256 * 2**20
# How people call the parameter that gets an EvalPrediction.
_PARAMETER = re.compile(r"p|(eval(uation)?_?)?(preds?|predictions?|preds?_?(and_?)?labels?)")
_THEIRS = ("EvalPrediction", "PredictionOutput", "tuple", "Tuple")
_OURS = ("dict", "Dict", "Mapping", "MutableMapping")
_OF_MODEL = ("loss", "num_items")
_PREDICTED = ("logits", "predictions")


class EvalPrediction(NamedTuple):
    """Predictions and labels, where transformers, whose class of that name is given else, is not there."""

    predictions: Any
    label_ids: Any


def wants_predictions(compute_metrics: Callable[..., Any]) -> bool:
    """Whether `compute_metrics` is one of transformers', for an EvalPrediction, rather than for our means.

    The annotation of its first parameter decides; where it says neither, the name: `eval_pred`, `p`, `preds`.
    """
    parameters = list(inspect.signature(compute_metrics).parameters.values())
    if not parameters:
        return False
    annotation = parameters[0].annotation
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    kind = text.partition("[")[0].rpartition(".")[2]
    if kind in (*_THEIRS, *_OURS):
        return kind in _THEIRS
    return _PARAMETER.fullmatch(parameters[0].name.lower()) is not None


def split(output: Any, batch: Any, ignored: Collection[str]) -> tuple[Any, Any, Any]:
    """Predictions and labels in what a batch came to, and what of it are figures.

    Of a model's output everything but the loss is predicted; of a dict of the user's, `logits` or
    `predictions`. Labels are those in the output, else those of the batch.

    Raises:
        TrainerError: There is no telling.
    """
    found = dict(output) if isinstance(output, Mapping) else {}
    names = [n for n in found if n not in _OF_MODEL] if is_model_output(output) else list(_PREDICTED)
    labels = [value for name, value in found.items() if name.startswith("label")]
    if not labels and isinstance(batch, Mapping):
        # As transformers finds them: every argument of the model with "label" in its name.
        labels = [batch[name] for name in batch if "label" in name or name.endswith("_positions")]
    parts = [
        found[name]
        for name in names
        if name not in ignored and not name.startswith("label") and found.get(name) is not None
    ]
    if not parts:
        raise TrainerError(
            "compute_metrics wants predictions, and evaluate returned none. Return the model's whole output, "
            "or {'logits': ..., 'labels': ...}."
        )
    rest = {n: v for n, v in found.items() if n not in _PREDICTED and not n.startswith("label")}
    return _alone(parts), _alone(labels) if labels else None, output if is_model_output(output) else rest


class Predictions:
    """Collects batches of this rank; `of_all_ranks` puts them together on the first.

    Args:
        most_bytes: What is kept in memory; the rest goes through a file.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most = most_bytes
        self._kept: list[list[Array]] = []
        self._bytes = 0
        self._file: BinaryIO | None = None
        self._shapes: list[list[tuple[int, ...]]] = []
        self._kinds: list[np.dtype[Any]] = []
        self._spec: _pytree.TreeSpec | None = None

    def add(self, predictions: Any, labels: Any) -> None:
        leaves, spec = _pytree.tree_flatten((predictions, labels))
        arrays = [_array(leaf) for leaf in leaves]
        if self._spec is not None and spec != self._spec:
            raise TrainerError("evaluate returned other predictions for this batch than for the one before.")
        self._spec = spec
        self._kinds = [array.dtype for array in arrays]
        self._shapes.append([array.shape for array in arrays])
        self._bytes += sum(array.nbytes for array in arrays)
        if self._bytes <= self._most:
            self._kept.append(arrays)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
        for array in arrays:
            np.save(self._file, array, allow_pickle=False)

    def of_all_ranks(self) -> tuple[Any, Any] | None:
        """Predictions and labels, on the first rank; None on the others. Every rank must call this."""
        everyone = everyones((self._spec, self._shapes, self._kinds))
        batches = max(len(shapes) for _, shapes, _ in everyone)
        spec, _, kinds = next(told for told in everyone if told[0] is not None)
        shapes = [_largest([b[i] for _, s, _ in everyone for b in s]) for i in range(len(kinds))]
        whole = [_Rows(shape, kind) for shape, kind in zip(shapes, kinds, strict=True)]
        own = self._batches()
        first = False
        for _ in range(batches):
            # In the order of the data: a global batch lies in the order of the ranks.
            for part in gathered_by_first(next(own, None)):
                first = True
                for rows, array in zip(whole, part or [], strict=False):
                    rows.append(array)
        if not first or spec is None:
            return None
        predictions, labels = _pytree.tree_unflatten([rows.filled() for rows in whole], spec)
        return predictions, labels

    def _batches(self) -> Iterator[list[Array]]:
        yield from self._kept
        if self._file is not None:
            with self._file as file:
                file.seek(0)
                for shapes in self._shapes[len(self._kept) :]:
                    yield [np.load(file, allow_pickle=False) for _ in shapes]


class _Rows:
    """An array that fills up; on disk where it is large."""

    def __init__(self, shape: tuple[int, ...], kind: np.dtype[Any]) -> None:
        self._at = 0
        if int(np.prod(shape)) * kind.itemsize <= _MOST_BYTES:
            self._array: Array = np.empty(shape, kind)
            return
        # What is mapped stays there when the file, which has no name, is closed.
        with tempfile.TemporaryFile() as file:
            self._array = np.memmap(file, kind, "w+", shape=shape)

    def append(self, part: Array) -> None:
        rows = self._array[self._at : self._at + len(part)]
        if rows.shape != part.shape:
            rows[:] = _PADDING
        rows[tuple(slice(size) for size in part.shape)] = part
        self._at += len(part)

    def filled(self) -> Array:
        return self._array[: self._at]


def metrics_of(compute_metrics: Callable[..., Any], collected: Predictions) -> Any:
    """What `compute_metrics` says of all predictions, on every rank; the first alone asks it."""
    both = collected.of_all_ranks()
    return everyones(None if both is None else _plain(compute_metrics(_eval_prediction(*both))))[0]


def _eval_prediction(predictions: Any, labels: Any) -> Any:
    try:
        from transformers import EvalPrediction as Theirs
    except ImportError:
        return EvalPrediction(predictions, labels)
    return Theirs(predictions=predictions, label_ids=labels)


def _plain(returned: Any) -> Any:
    """Figures as they can be sent to other ranks."""
    if not isinstance(returned, Mapping):
        return returned
    return {
        name: value.item() if isinstance(value, np.generic) else value for name, value in returned.items()
    }


def _array(leaf: Any) -> Array:
    if isinstance(leaf, Tensor):
        leaf = leaf.detach()
        leaf = (leaf.float() if leaf.dtype == torch.bfloat16 else leaf).cpu().numpy()
    array = np.asarray(leaf)
    if array.dtype.kind not in "biufc":
        raise TrainerError(f"compute_metrics wants numbers, and a prediction is a {type(leaf).__name__}.")
    return array if array.ndim else array[None]


def _largest(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    rows = sum(shape[0] for shape in shapes)
    return (rows, *map(max, zip(*(shape[1:] for shape in shapes), strict=True)))


def _alone(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else tuple(parts)
