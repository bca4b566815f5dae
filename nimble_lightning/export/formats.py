"""The formats a model can be exported in."""

from __future__ import annotations

from enum import StrEnum


class ExportFormat(StrEnum):
    """The formats of exports, by their names in settings, on the command line and in export.json.

    Attributes:
        packages: What has to be installed for it besides what this package needs.
    """

    SAFETENSORS = "safetensors"
    TORCH = "torch"
    ONNX = "onnx", ("onnx", "onnxscript", "onnxruntime")

    packages: tuple[str, ...]

    def __new__(cls, name: str, packages: tuple[str, ...] = ()) -> ExportFormat:
        """A format by its name."""
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.packages = packages
        return kind
