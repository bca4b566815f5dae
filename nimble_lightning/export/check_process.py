"""What a fresh process does to check an export: read the files, run the samples, write down the outputs.

It is told everything by a file and shares nothing with the process that made the export.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def main(order: Path) -> None:
    """Carry out one order."""
    asked = json.loads(order.read_text(encoding="utf-8"))
    import numpy as np

    outputs = _KINDS[asked["kind"]](asked)
    np.savez(asked["outputs"], **outputs)


def _onnx(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Without torch: this is how others will use the file."""
    import numpy as np
    import onnxruntime  # type: ignore[import-untyped]

    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(asked["path"], providers=["CPUExecutionProvider"])
    outputs = {}
    with np.load(asked["inputs"]) as given:
        for number in range(asked["calls"]):
            inputs = {
                name: given[f"{number}.{position}"] for position, name in enumerate(asked["input_names"])
            }
            for position, value in enumerate(session.run(None, inputs)):
                outputs[f"{number}.{position}"] = value
    return outputs


def _torch(asked: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    model = torch.export.load(asked["path"]).module()
    # What was kept of a call as a constant is part of the program already.
    return _run_all(model, asked, constants=False)


def _hugging_face(asked: Mapping[str, Any]) -> dict[str, Any]:
    from nimble_lightning.export import safetensors

    try:
        kind = safetensors.class_called(asked["class"])
    except LookupError:
        from nimble_lightning.adapters.load_trainer import load

        # A class of the user's own comes with the file that holds the trainer.
        load(asked["trainer"])
        kind = safetensors.class_called(asked["class"])
    model = safetensors.from_pretrained(kind, Path(asked["path"]))
    return _run_all(model.float().eval(), asked)


def _rebuilt(asked: Mapping[str, Any]) -> dict[str, Any]:
    from nimble_lightning.export import safetensors

    # Said by whoever made the export: what is here knows no runs.
    build = safetensors.class_called(asked["builder"])
    model = build(Path(asked["run_folder"]), asked["model"], asked["trainer"], asked["whole"])
    safetensors.load_into(model, Path(asked["path"]))
    return _run_all(model.float().eval(), asked)


def _run_all(model: Any, asked: Mapping[str, Any], *, constants: bool = True) -> dict[str, Any]:
    import torch

    from nimble_lightning.export.example_inputs import ExampleCall
    from nimble_lightning.export.model_outputs import run

    outputs = {}
    for number, (args, kwargs, fixed) in enumerate(torch.load(asked["inputs"], weights_only=True)):
        call = ExampleCall(tuple(args), kwargs, fixed if constants else {})
        for position, value in enumerate(run(model, call)):
            outputs[f"{number}.{position}"] = value.numpy()
    return outputs


_KINDS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "onnx": _onnx,
    "torch": _torch,
    "pretrained": _hugging_face,
    "rebuilt": _rebuilt,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
