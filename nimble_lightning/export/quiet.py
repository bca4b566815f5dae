"""Libraries that talk while they work, silenced for as long as they do."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_TALKATIVE = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


@contextmanager
def quiet() -> Iterator[None]:
    """No advice about deprecations inside torch and no progress bars of transformers; errors are untouched."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    bars = getattr(sys.modules.get("transformers.utils.logging"), "is_progress_bar_enabled", lambda: False)()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    if bars:
        _bars("disable")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            _bars("enable")


def _bars(switch: str) -> None:
    getattr(sys.modules["transformers.utils.logging"], f"{switch}_progress_bar")()
