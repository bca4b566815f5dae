from __future__ import annotations

from collections.abc import Iterator

import pytest

from nimble_lightning.checkpoint import stages


@pytest.fixture(autouse=True)
def _no_hook() -> Iterator[None]:
    yield
    stages.set_hook(None)
