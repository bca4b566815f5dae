"""From `validator=` to an object. It knows no torch, so that the process that only supervises can ask."""

from __future__ import annotations

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.settings import RunSettings, target_of
from nimble_lightning.validators.verdict import NoValidator

_OURS = "nimble_lightning.validators."


def made_validator(asked: RunSettings) -> Any:
    """The object that `validator` describes."""
    block = asked.validator
    if not target_of(block):
        return NoValidator()
    try:
        validator = instantiate(block, _convert_="object")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, NimbleError):
            raise cause from None
        raise RequestError(f"validator: {type(cause).__name__}: {cause}".partition("\n")[0]) from error
    if not callable(getattr(validator, "judge", None)):
        raise RequestError(
            f"{target_of(block)} has no method judge(self, run). "
            "It returns True or False, (bool, sentence), or a Verdict."
        )
    return validator


def check(asked: RunSettings) -> None:
    """Refuse criteria that cannot be read before anything is started.

    A class of the user's own is made in the worker, for nobody knows what it imports.
    """
    if target_of(asked.validator).startswith(_OURS):
        made_validator(asked)
