"""The NVIDIA driver's own library, through `pynvml`: each question may fail by itself and is then unknown."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Nvml:
    """Asks a library that has `pynvml`'s functions.

    Args:
        library: The module `pynvml`, initialised, or what stands in for it.
    """

    def __init__(self, library: Any) -> None:
        self.library = library
        # An older pynvml lacks functions, an older driver newer forms of them, for which there is an error of
        # another family, and a name may be no text: all of that is unknown as well.
        mismatch = getattr(library, "NVMLLibraryMismatchError", library.NVMLError)
        self._unknown = (library.NVMLError, mismatch, AttributeError, ValueError)

    def ask(self, query: str, *arguments: Any) -> Any:
        """The answer of the function called `query`; None when this driver, card or user gets none."""
        try:
            return getattr(self.library, query)(*arguments)
        except self._unknown:
            return None


_replacements: list[Nvml] = []


def opened() -> Nvml | None:
    """The library, opened once a process and left open; None where there is no driver."""
    found = _replacements[-1] if _replacements else _open(os.getpid())
    return found if isinstance(found, Nvml) else None


def why_not() -> str:
    """Why there is no library, in the driver's words; empty when there is one."""
    found = _replacements[-1] if _replacements else _open(os.getpid())
    return "" if isinstance(found, Nvml) else found


@contextmanager
def replaced_by(library: Any) -> Iterator[Nvml]:
    """Have everybody in this process ask another library meanwhile."""
    nvml = Nvml(library)
    _replacements.append(nvml)
    try:
        yield nvml
    finally:
        _replacements.remove(nvml)


# What a forked process inherits was opened by another one, so each opens it for itself.
@functools.lru_cache(maxsize=1)
def _open(process: int) -> Nvml | str:
    try:
        import pynvml
    except ImportError:
        return "nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return str(error)
    return Nvml(pynvml)
