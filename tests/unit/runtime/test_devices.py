"""One worker a device."""

from __future__ import annotations

from typing import Any

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.runtime.devices import count


@pytest.mark.parametrize(
    ("settings", "workers"),
    [
        ({}, 1),
        ({"accelerator": "cpu", "devices": "auto"}, 1),
        ({"accelerator": "cpu", "devices": 2}, 2),
        ({"accelerator": "cpu", "devices": "3"}, 3),
        ({"accelerator": "gpu", "devices": [0, 2]}, 2),
        ({"accelerator": "gpu", "devices": "0,1,"}, 2),
    ],
)
def test_workers_by_devices(settings: dict[str, Any], workers: int) -> None:
    assert count(settings) == workers


def test_what_is_no_number_of_devices_is_refused() -> None:
    with pytest.raises(RequestError, match=r"devices='many'.*auto"):
        count({"devices": "many"})
