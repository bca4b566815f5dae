"""One worker a device."""

from __future__ import annotations

from typing import Any

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.runs import device_count
from nimble_lightning.runs.device_count import count, visible
from nimble_lightning.settings import Processes


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
    assert count(Processes(**settings)) == workers


def test_one_process_trains_on_one_device() -> None:
    device_count.require_one(Processes(accelerator="cpu"))
    with pytest.raises(RequestError, match=r"lightning.devices=2 asks for 2\nAdd lightning.devices=1"):
        device_count.require_one(Processes(accelerator="cpu", devices=2))


def test_what_is_no_number_of_devices_is_refused() -> None:
    with pytest.raises(RequestError, match=r"devices='many'.*auto"):
        count(Processes(devices="many"))


@pytest.mark.parametrize(
    ("named", "there", "expected"),
    [
        (None, 4, ["0", "1", "2", "3"]),
        ("2, 3,7", 2, ["2", "3"]),
        ("GPU-5a,GPU-7b", 2, ["GPU-5a", "GPU-7b"]),
        # What torch says of slices of a GPU.
        ("MIG-1c,MIG-2d", -1, ["MIG-1c", "MIG-2d"]),
        ("", 0, []),
    ],
)
def test_gpus_are_named_as_they_were_given(
    monkeypatch: pytest.MonkeyPatch, named: str | None, there: int, expected: list[str]
) -> None:
    monkeypatch.setattr(device_count, "_gpus", lambda: there)
    if named is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible(Processes()) == expected
    assert visible(Processes(accelerator="cpu")) == []


def test_an_accelerator_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_count, "_gpus", lambda: 0)
    monkeypatch.setattr("torch.version.hip", None)
    with pytest.raises(RequestError, match=r"lightning\.accelerator=cuda, but torch finds no such device"):
        device_count.require(Processes(accelerator="cuda"))
    device_count.require(Processes(accelerator="cpu"))
    monkeypatch.setattr(device_count, "_gpus", lambda: -1)
    device_count.require(Processes(accelerator="cuda"))
