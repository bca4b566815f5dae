"""Every export is read back by a fresh process and compared with the model it was made of."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nimble_lightning.errors import ExportError
from nimble_lightning.export.example_inputs import ExampleCall
from nimble_lightning.export.model_outputs import run

# In single precision; of the largest output where that is above one.
TOLERANCE = 1e-5
_SECONDS = 900
_LINES = 4


@dataclass(frozen=True)
class ExportCheck:
    """How an export was compared, and what came out.

    Attributes:
        how: In words.
        max_difference: The largest between any two outputs; 0 where every bit was compared instead.
        shapes: Of the inputs it was tried with.
    """

    how: str
    max_difference: float
    shapes: list[list[list[int]]]

    def __post_init__(self) -> None:
        if not self.max_difference >= 0:
            raise ExportError("The outputs cannot be compared: some are no numbers in one of the two.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def references(model: nn.Module, calls: Sequence[ExampleCall]) -> list[list[Tensor]]:
    """What the model in memory answers; refused where it answers differently each time."""
    first, second = ([run(model, call) for call in calls] for _ in range(2))
    if difference(first, second):
        raise ExportError(
            f"{type(model).__name__} answers the same input differently each time, so no export of it can be "
            "checked. Make it deterministic in eval mode."
        )
    return first


def check(
    order: Mapping[str, Any], calls: Sequence[ExampleCall], wanted: list[list[Tensor]], work: Path
) -> ExportCheck:
    """Have a fresh process run an export, and compare.

    Args:
        order: What `fresh` needs to know: the kind, the path, and what else that kind takes.
        calls: The samples.
        wanted: What the model in memory answers to each.
        work: A folder for what the two processes tell each other.

    Raises:
        ExportError: The export cannot be used, or gives other outputs than the model.
    """
    found = _fresh(order, calls, work)
    worst = difference(wanted, found)
    limit = TOLERANCE * max([1.0, *(largest(t) for tensors in wanted for t in tensors)])
    if not worst <= limit:
        raise ExportError(
            f"The {order['kind']} export is not the model: its outputs differ by up to {worst:.2g}, "
            f"allowed are {limit:.2g}."
        )
    shapes = [[list(t.shape) for t in call.tensors] for call in calls]
    return ExportCheck("reloaded in a fresh process, outputs compared with the model's", worst, shapes)


def difference(wanted: list[list[Tensor]], found: list[list[Tensor]]) -> float:
    """The largest difference between outputs; infinite where they are not even of the same shape."""
    worst = 0.0
    for tensors, others in zip(wanted, found, strict=True):
        if [t.shape for t in tensors] != [o.shape for o in others]:
            return float("inf")
        for one, other in zip(tensors, others, strict=True):
            one, other = one.double(), other.double()
            same = (one == other) | (one.isnan() & other.isnan())
            apart = torch.where(same, 0.0, (one - other).abs()).nan_to_num(nan=float("inf"))
            worst = max(worst, float(apart.max()) if apart.numel() else 0.0)
    return worst


def largest(tensor: Tensor) -> float:
    """The largest absolute value among the finite elements of a tensor; 0 where there are none."""
    finite = tensor[torch.isfinite(tensor)] if tensor.is_floating_point() else tensor
    return float(finite.abs().max()) if finite.numel() else 0.0


def _fresh(order: Mapping[str, Any], calls: Sequence[ExampleCall], work: Path) -> list[list[Tensor]]:
    inputs, outputs, told = work / "inputs", work / "outputs.npz", work / "order.json"
    if order["kind"] == "onnx":
        inputs = inputs.with_suffix(".npz")
        arrays = {f"{n}.{i}": t.numpy() for n, call in enumerate(calls) for i, t in enumerate(call.tensors)}
        np.savez(inputs, **arrays)  # type: ignore[arg-type]
    else:
        torch.save([(call.args, call.kwargs, call.constants) for call in calls], inputs)
    told.write_text(
        json.dumps({**order, "inputs": str(inputs), "outputs": str(outputs), "calls": len(calls)}),
        encoding="utf-8",
    )
    _carry_out(told, str(order["kind"]))
    with np.load(outputs) as found:
        return [
            [torch.from_numpy(found[f"{n}.{i}"]) for i in range(sum(k.startswith(f"{n}.") for k in found))]
            for n in range(len(calls))
        ]


def _carry_out(order: Path, kind: str) -> None:
    command = [sys.executable, "-m", "nimble_lightning.export.check_process", str(order)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ExportError(f"A fresh process was not done with the {kind} export in {_SECONDS} s.") from None
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-_LINES:])
        raise ExportError(f"A fresh process cannot use the {kind} export:\n{last}")
