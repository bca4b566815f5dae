"""A model in the formats asked for: made aside, checked, and only then moved to where it belongs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from nimble_lightning.errors import ExportError
from nimble_lightning.export import checks, merged_adapter, metadata, safetensors, torch_export
from nimble_lightning.export.checks import ExportCheck
from nimble_lightning.export.compare_weights import is_sharded, untouched
from nimble_lightning.export.dynamic_shapes import Shapes
from nimble_lightning.export.example_inputs import ExampleCall
from nimble_lightning.export.exportable_models import ExportedModel, is_adapter, is_hugging_face
from nimble_lightning.export.formats import ExportFormat
from nimble_lightning.export.model_outputs import output_names

BIT_BY_BIT = "read back in the same process, every tensor compared with the model's bit for bit"


def save_weights(model: ExportedModel, out: Path, facts: Mapping[str, Any]) -> None:
    """Export as safetensors what was just evaluated; replaces `out`.

    The check is the quick one, of bits: nothing is computed anew, so outputs can only be the same.

    Raises:
        ExportError: The files are not the model, or the model is what it was before training.
    """
    _require_trained(model)
    with _staging(out) as staging:
        safetensors.save(model, staging)
        safetensors.require_same(model, staging)
        check = ExportCheck(BIT_BY_BIT, 0.0, [])
        metadata.write(staging, facts, _files(staging), {ExportFormat.SAFETENSORS: check.to_json()})
        shutil.rmtree(out, ignore_errors=True)
        os.rename(staging, out)


def export(
    model: ExportedModel,
    formats: Sequence[ExportFormat],
    out: Path,
    call: ExampleCall,
    facts: Mapping[str, Any],
    build: Mapping[str, Any],
) -> dict[ExportFormat, ExportCheck]:
    """Export a model and have each file checked by a fresh process; adds to `out`.

    Args:
        model: The trained model, on the CPU; it is in full precision afterwards.
        formats: Those asked for.
        out: The folder.
        call: Real arguments of the model.
        facts: For export.json.
        build: How a fresh process builds a model that safetensors alone cannot: `builder` and its words.

    Raises:
        ExportError: An export is not the model. Nothing of what was asked is kept then.
    """
    _require_trained(model)
    with _staging(out) as staging, _staging(out.with_name(out.name + ".check")) as work:
        checks = _Exporting(model, call, staging, work, build).make(formats)
        told = {str(name): check.to_json() for name, check in checks.items()}
        metadata.write(staging, facts, _files(staging), told)
        content = metadata.merged(metadata.read(out), metadata.read(staging))
        (staging / metadata.ABOUT).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        for path in _files(staging):
            target = out / path.relative_to(staging)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.replace(path, target)
    return checks


class _Exporting:
    """One model on its way into files."""

    def __init__(
        self, model: ExportedModel, call: ExampleCall, folder: Path, work: Path, build: Mapping[str, Any]
    ) -> None:
        self.model = model
        self.call = call
        self.folder = folder
        self.work = work
        self.build = build
        self.module = model.module.eval()
        self.shapes = Shapes.of(self.module, call)

    def make(self, formats: Sequence[ExportFormat]) -> dict[ExportFormat, ExportCheck]:
        checks: dict[ExportFormat, ExportCheck] = {}
        if ExportFormat.SAFETENSORS in formats:
            safetensors.save(self.model, self.folder)
            safetensors.require_same(self.model, self.folder)
        self.module.float()
        if ExportFormat.SAFETENSORS in formats:
            checks[ExportFormat.SAFETENSORS] = self._check(self._weights(), lengths=True)
        if ExportFormat.TORCH in formats or ExportFormat.ONNX in formats:
            program, lengths = torch_export.program_of(self.module, self.call, self.shapes)
            if ExportFormat.TORCH in formats:
                path = self.folder / torch_export.PROGRAM
                torch_export.save(program, path)
                checks[ExportFormat.TORCH] = self._check({"kind": "torch", "path": str(path)}, lengths)
            if ExportFormat.ONNX in formats:
                checks[ExportFormat.ONNX] = self._check(self._graph(program), lengths)
        if ExportFormat.MERGED in formats:
            # The last: it leaves no adapter behind.
            checks[ExportFormat.MERGED] = self._merge()
        return checks

    def _merge(self) -> ExportCheck:
        calls = self._calls(lengths=True)
        wanted = checks.references(self.module, calls)
        merged = merged_adapter.save(self.model, self.folder)
        order = {"kind": "pretrained", "path": str(self.folder), "class": merged.class_name, **self.build}
        return checks.check(order, calls, wanted, self.work)

    def _weights(self) -> dict[str, Any]:
        known = {"class": self.model.class_name, "model": self.model.name, **self.build}
        if is_adapter(self.module):
            # On the model that it names, as others will open it.
            base = ExportedModel(self.model.name, self.module.get_base_model())  # type: ignore[operator]
            return {"kind": "pretrained", "path": str(self.folder), **known, "class": base.class_name}
        if is_hugging_face(self.module):
            return {"kind": "pretrained", "path": str(self.folder), **known}
        return {"kind": "rebuilt", "path": str(self.folder / safetensors.WEIGHTS), **known}

    def _graph(self, program: ExportedProgram) -> dict[str, Any]:
        path, traced = self.folder / torch_export.ONNX_GRAPH, self.shapes.traced(self.call)
        outputs = output_names(self.module, traced)
        # Of the recorded call: there, no dimension has by chance the size of another.
        names = torch_export.save_onnx(program, path, self.call.tensors, self.shapes, outputs)
        return {"kind": "onnx", "path": str(path), "input_names": names}

    def _check(self, order: Mapping[str, Any], lengths: bool) -> ExportCheck:
        calls = self._calls(lengths=lengths)
        return checks.check(order, calls, checks.references(self.module, calls), self.work)

    def _calls(self, *, lengths: bool) -> list[ExampleCall]:
        return [self.shapes.traced(self.call), *self.shapes.others(self.call, lengths=lengths)]


def _require_trained(model: ExportedModel) -> None:
    if is_sharded(model.module):
        raise ExportError(f"The weights of {model.name} are spread over several processes.")
    if untouched(model.module, model.base):
        raise ExportError(
            f"The weights of {model.name} are what they were before training: this would be an export of the "
            "untouched base model."
        )


def judge_together(models: Sequence[ExportedModel]) -> None:
    """Let a model that stayed as it was pass beside one that was trained: a backbone left alone, say."""
    idle = [model for model in models if untouched(model.module, model.base)]
    if len(idle) < len(models):
        for model in idle:
            model.base = None


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    folder = out.with_name(f".{out.name}.tmp-{os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
