"""Models as ONNX, by torch's own exporter."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from nimble_lightning.errors import ExportError, RequestError
from nimble_lightning.export.dynamic_shapes import Shapes
from nimble_lightning.export.formats import ExportFormat
from nimble_lightning.export.silence import quiet

GRAPH = "model.onnx"


def require() -> None:
    """Refuse early where the packages of the extra are not installed."""
    missing = [name for name in ExportFormat.ONNX.packages if find_spec(name) is None]
    if missing:
        raise RequestError(
            f"ONNX needs {', '.join(missing)}, not installed here. Type: pip install 'nimble-lightning[onnx]'"
        )


def save(
    program: ExportedProgram, path: Path, inputs: Sequence[Tensor], shapes: Shapes, outputs: Sequence[str]
) -> list[str]:
    """Translate a traced model; returns the names of its inputs, in the order of `inputs`."""
    require()
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
