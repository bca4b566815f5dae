"""What only a real card and its driver can show."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

from nimble_lightning.callbacks import GPUInfo
from nimble_lightning.gpu import devices_in_use
from nimble_lightning.gpu.overview import overview
from nimble_lightning.gpu.sample import SampleReader
from nimble_lightning.gpu.watch import Sampler

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def work(seconds: float, device: int = 0) -> None:
    """Keep a device busy."""
    matrix = torch.randn(8192, 8192, device=f"cuda:{device}", dtype=torch.bfloat16)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(10):
            matrix @ matrix
        torch.cuda.synchronize(device)


def test_devices_are_those_of_cuda_in_its_order() -> None:
    torch.cuda.init()
    properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    found = devices_in_use()
    assert [gpu.uuid.removeprefix("GPU-") for gpu in found] == [str(one.uuid) for one in properties]
    assert [gpu.name for gpu in found] == [one.name for one in properties]


def test_asking_the_driver_does_not_start_cuda() -> None:
    code = (
        "import torch\n"
        "from nimble_lightning.gpu import devices_in_use\n"
        "from nimble_lightning.gpu.sample import SampleReader as Reader\n"
        "found = [Reader(gpu).read() for gpu in devices_in_use()]\n"
        "assert found and found[0]['torch_reserved'] is None\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_work_shows_in_every_figure() -> None:
    reader = SampleReader(devices_in_use()[0])
    work(1.0)
    before, begun = reader.read(), time.monotonic()
    work(3.0)
    after, seconds = reader.read(), time.monotonic() - begun
    reader.close()
    assert after["utilization"] > 50
    assert after["torch_reserved"] >= 8192 * 8192 * 2
    assert after["memory_used"] >= after["torch_reserved"]
    assert 10 < after["temperature"] < 110
    assert after["sm_clock"] > 0
    joules = after["energy"] - before["energy"]
    assert 0.5 * after["power"] < joules / seconds < 1.5 * after["power"]
    if torch.cuda.get_device_capability()[0] >= 9:
        assert after["sm_active"] is None or after["sm_active"] > 20


def test_the_table_knows_the_card() -> None:
    found = overview(devices_in_use())
    assert found.driver
    assert found.cuda
    assert found.devices[0].memory is not None
    assert found.devices[0].power_limit


def test_looking_takes_half_a_per_cent_of_a_core_at_most() -> None:
    reader = SampleReader(devices_in_use()[0])
    sampler = Sampler(lambda: reader.read() and None, interval=1.0)
    sampler.start()
    begun = time.monotonic()
    work(20.0)
    share = sampler.cpu_seconds / (time.monotonic() - begun)
    assert sampler.stop()
    reader.close()
    print(f"share of a core: {share:.3%}")
    assert share <= 0.005


def test_a_fit_is_watched(tmp_path: Path) -> None:
    class Works(BoringModel):
        def training_step(self, batch, batch_idx):
            work(0.05)
            return super().training_step(batch, batch_idx)

    trainer = L.Trainer(
        callbacks=[GPUInfo()], accelerator="gpu", devices=1, max_epochs=1, default_root_dir=tmp_path
    )
    trainer.fit(Works(), BoringDataModule())
    (file,) = tmp_path.glob("**/gpu.jsonl")
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    assert [device["index"] for device in samples[-1]["devices"]] == [trainer.strategy.root_device.index]
    assert samples[-1]["devices"][0]["torch_reserved"] > 0
    assert samples[-1]["devices"][0]["utilization"] is not None
