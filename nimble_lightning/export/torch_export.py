"""Models as graphs by torch's own exporters, which need no code of the user's: a .pt2 file, or ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree

from nimble_lightning.errors import ExportError
from nimble_lightning.export.dynamic_shapes import Shapes
from nimble_lightning.export.example_inputs import ExampleCall
from nimble_lightning.export.formats import ExportFormat
from nimble_lightning.export.model_outputs import exportable, input_names

PROGRAM = "model.pt2"


ONNX_GRAPH = "model.onnx"


_TALKATIVE = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


def program_of(model: nn.Module, call: ExampleCall, shapes: Shapes) -> tuple[ExportedProgram, bool]:
    """Trace a model, with batch and length left open.

    Returns:
        The program, and whether its length is open: some models do not work with every length.

    Raises:
        ExportError: The model cannot be traced at all.
    """
    first: Exception | None = None
    for spec, with_length in _specs(shapes):
        try:
            return _traced(model, call, shapes, spec), with_length
        except Exception as error:  # torch raises many kinds; which of them, only its text says
            first = first or error
    reason = str(first).strip().partition("\n")[0]
    raise ExportError(f"torch.export cannot trace {type(model).__name__}: {reason}") from first


def save(program: ExportedProgram, path: Path) -> None:
    """Write an exported program to a `.pt2` file."""
    with quiet():
        torch.export.save(program, path)


def _traced(
    model: nn.Module, call: ExampleCall, shapes: Shapes, spec: Callable[[Tensor], Any]
) -> ExportedProgram:
    def dynamic(value: Any) -> Any:
        return _pytree.tree_map(lambda leaf: spec(leaf) if isinstance(leaf, Tensor) else None, value)

    # Read off the recorded call: in the smaller traced one, sizes may be equal by chance.
    given = [*call.args, *call.kwargs.values()]
    open_dims = {n: dynamic(v) for n, v in zip(input_names(model, call), given, strict=True)}
    traced = shapes.traced(call)
    with quiet(), torch.no_grad():
        return torch.export.export(
            exportable(model, traced), traced.args, traced.kwargs, dynamic_shapes=open_dims
        )


def _specs(shapes: Shapes) -> Iterator[tuple[Callable[[Tensor], Any], bool]]:
    """Named dimensions first; then such as may depend on each other; then the batch alone."""
    named = {"batch": Dim("batch"), "length": Dim("length", max=shapes.longest)}
    yield _spec(shapes, named), shapes.length is not None
    yield _spec(shapes, dict.fromkeys(named, Dim.DYNAMIC)), shapes.length is not None
    if shapes.length is not None:
        yield _spec(shapes, {"batch": named["batch"]}), False


def _spec(shapes: Shapes, dims: dict[str, Any]) -> Callable[[Tensor], Any]:
    return lambda tensor: {d: dims[name] for d, name in shapes.varying(tensor).items() if name in dims}


def save_onnx(
    program: ExportedProgram, path: Path, inputs: Sequence[Tensor], shapes: Shapes, outputs: Sequence[str]
) -> list[str]:
    """Translate a traced model; returns the names of its inputs, in the order of `inputs`."""
    ExportFormat.ONNX.require()
    try:
        with quiet():
            made = torch.onnx.export(program, dynamo=True, verbose=False, output_names=list(outputs))
        if made is None:
            raise ExportError("torch.onnx.export returned nothing.")
        graph = made.model.graph
        names: dict[Any, str] = {}
        for given, value in zip(inputs, graph.inputs, strict=True):
            for dim, name in shapes.varying(given).items():
                symbol = getattr((value.shape or [])[dim], "value", None)
                if isinstance(symbol, str):
                    names[symbol] = name
        # A dimension of the traced program has a number for a name.
        made.rename_axes(names)
        made.save(path)
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(f"torch.onnx cannot translate the model: {reason}") from error
    return [str(value.name) for value in graph.inputs]


@contextmanager
def quiet() -> Iterator[None]:
    """No advice about deprecations inside torch. Not for threads: filters of warnings are everybody's."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
