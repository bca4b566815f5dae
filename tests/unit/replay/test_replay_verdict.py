"""Stretches that a validator has trained again."""

from __future__ import annotations

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.validators import Replay


def test_none_is_no_number_of_stretches() -> None:
    with pytest.raises(RequestError, match="at least 1"):
        Replay(stretches=0)
