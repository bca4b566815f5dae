"""The formats a model can be exported in."""

from __future__ import annotations

from enum import StrEnum
from importlib.util import find_spec

from nimble_lightning.errors import RequestError


class ExportFormat(StrEnum):
    """The formats of exports, by their names in settings, on the command line and in export.json.

    Attributes:
        extra: What installs what it needs besides what this package needs.
        packages: Which those are.
    """

    SAFETENSORS = "safetensors"
    TORCH = "torch"
    ONNX = "onnx", "onnx", ("onnx", "onnxscript", "onnxruntime")
    MERGED = "merged", "llm", ("peft",)

    extra: str
    packages: tuple[str, ...]

    def __new__(cls, name: str, extra: str = "", packages: tuple[str, ...] = ()) -> ExportFormat:
        """A format by its name."""
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.extra, kind.packages = extra, packages
        return kind

    @property
    def missing(self) -> list[str]:
        """Those of its packages that are not installed here."""
        return [name for name in self.packages if find_spec(name) is None]

    def require(self) -> None:
        """Refuse early where one is not.

        Raises:
            RequestError: It says which, and what installs it.
        """
        if self.missing:
            names = ", ".join(self.missing)
            raise RequestError(
                f"{self} needs {names}, not installed here. "
                f"Type: pip install 'nimble-lightning[{self.extra}]'"
            )
