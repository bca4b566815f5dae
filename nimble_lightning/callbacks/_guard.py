"""The one place that catches `Exception` around reporting: a failing helper must not take the run with it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from lightning.pytorch.callbacks import Callback

from nimble_lightning.errors import RequestError

_C = TypeVar("_C", bound=type[Callback])
_HOOKS = frozenset(name for name in vars(Callback) if name.startswith("on_") or name in ("setup", "teardown"))


def guarded(cls: _C) -> _C:
    """Make the hooks a reporting callback defines itself unable to break a run.

    An `Exception` in a hook is logged once for each hook and the run goes on; in `on_exception` this
    keeps the user's error the one that is raised. A `RequestError` out of `setup` still refuses the run,
    since nothing has started yet. Only hooks written in `cls` itself are covered, so decorate a subclass
    as well.
    """
    for name in _HOOKS & vars(cls).keys():
        setattr(cls, name, _safe(name, vars(cls)[name]))
    return cls


def _safe(name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(hook)
    def safe(self: Callback, *args: Any, **kwargs: Any) -> Any:
        try:
            return hook(self, *args, **kwargs)
        except Exception as error:
            if name == "setup" and isinstance(error, RequestError):
                raise
            _say_once(self, name, error)

    return safe


def _say_once(callback: Callback, hook: str, error: Exception) -> None:
    said: set[str] = callback.__dict__.setdefault("_guard_said", set())
    if hook in said:
        return
    said.add(hook)
    logging.getLogger(type(callback).__module__).warning(
        "%s failed in %s and was skipped; the run goes on (said once): %s: %s",
        type(callback).__name__,
        hook,
        type(error).__name__,
        error,
        exc_info=error,
    )
