from __future__ import annotations

from collections.abc import Iterator

import pytest

from nimble_lightning.checkpoint import fault_points


@pytest.fixture(autouse=True)
def _no_hook() -> Iterator[None]:
    yield
    fault_points.set_hook(None)
