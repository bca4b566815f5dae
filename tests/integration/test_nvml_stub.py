"""The real `pynvml` on a driver library that gcc has just made: every argument and structure crosses over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nimble_lightning.notifications import events

STUB = Path(__file__).parents[1] / "helpers" / "nvml_stub.c"

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

LOOK = """
import json
from nimble_lightning.gpu import devices_in_use
from nimble_lightning.gpu.sample import SampleReader as Reader
readers = [Reader(gpu) for gpu in devices_in_use()]
print(json.dumps([[reader.read() for reader in readers] for _ in range(3)][-1]))
"""

FIT = """
import time
import lightning as L
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from nimble_lightning.callbacks import GPUInfo

class Model(BoringModel):
    def on_train_batch_end(self, outputs, batch, batch_idx):
        while not (watch := info._watch).latest:
            time.sleep(0.01)

info = GPUInfo(interval=0.01, devices=[0, 1])
L.Trainer(callbacks=[info], accelerator="cpu", max_epochs=1, limit_val_batches=1, logger=False,
          enable_checkpointing=False, enable_progress_bar=False).fit(Model(), datamodule=BoringDataModule())
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which the stub is the driver."""
    folder = tmp_path_factory.mktemp("driver")
    built = folder / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(built), str(STUB)], check=True)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CUDA_")}
    return {**environ, "LD_LIBRARY_PATH": str(folder)}


def python(code: str, environ: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-c", code], env=environ, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_what_a_driver_answers_arrives_in_the_right_units(driver: dict[str, str], tmp_path: Path) -> None:
    first, second = json.loads(python(LOOK, driver, tmp_path).stdout)
    assert first == {
        "index": 0,
        "uuid": "GPU-00000000-stub",
        "name": "NVIDIA Stub",
        "utilization": 93.0,
        "sm_active": 71.5,
        "memory_used": 2_000_000_000,
        "memory_total": 80_000_000_000,
        "torch_reserved": None,
        "torch_peak": None,
        "power": 250.5,
        "energy": 123.456,
        "temperature": 71.0,
        "sm_clock": 1980.0,
        "throttle": ["power_cap"],
        "pcie_rx": 2.0 * 2**20,
        "pcie_tx": 1.0 * 2**20,
        "ecc_errors": 0,
        "remap_pending": False,
    }
    unknown = {key for key, value in second.items() if value is None}
    assert unknown == {"sm_active", "torch_reserved", "torch_peak", "power", "energy", "temperature"}
    assert second["throttle"] == ["hardware_slowdown", "hardware_thermal"]
    assert (second["pcie_rx"], second["pcie_tx"]) == (20 * 1024, 10 * 1024)
    assert (second["ecc_errors"], second["remap_pending"]) == (3, True)


def test_the_command_shows_trouble(driver: dict[str, str], tmp_path: Path) -> None:
    command = "from nimble_lightning.commands.main import main; main(['gpu'])"
    said = python(command, driver, tmp_path).stdout
    assert "driver 580.159.04, CUDA 13.0" in said
    assert "linked by one PCIe switch" in said
    *warnings, about_numbers = [line for line in said.splitlines() if line.startswith("!")]
    assert len(warnings) == 6
    assert all(line.startswith("! GPU 1 ") for line in warnings)
    assert warnings[-1].endswith("(1) holds 3.0 GB of it")
    assert "CUDA_DEVICE_ORDER" in about_numbers, "the two are of different kinds"


def test_the_command_honours_what_cuda_shows(driver: dict[str, str], tmp_path: Path) -> None:
    command = "from nimble_lightning.commands.main import main; main(['gpu', '--json'])"
    shown = python(command, {**driver, "CUDA_VISIBLE_DEVICES": "GPU-00000001"}, tmp_path).stdout
    (device,) = json.loads(shown)["devices"]
    assert (device["index"], device["uuid"], device["nvlinks"]) == (0, "GPU-00000001-stub", None)


def test_a_fit_is_watched_and_its_alarms_are_told(driver: dict[str, str], tmp_path: Path) -> None:
    python(FIT, driver, tmp_path)
    samples: list[dict[str, Any]] = [
        json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()
    ]
    assert {device["name"] for device in samples[0]["devices"]} == {"NVIDIA Stub", "NVIDIA Trouble"}
    told = [event.facts for event in events.read(tmp_path)]
    assert sorted(facts["alarm"] for facts in told) == ["heat", "memory"]
    assert {facts["device"] for facts in told} == {1}


def test_a_driver_that_does_not_start_is_no_error(tmp_path: Path) -> None:
    broken = tmp_path / "libnvidia-ml.so.1"
    code = "int nvmlInitWithFlags(unsigned flags) { return 9; }"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", str(broken), "-x", "c", "-"], input=code, text=True, check=True
    )
    command = "from nimble_lightning.commands.main import main; main(['gpu'])"
    said = python(command, {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}, tmp_path).stdout
    assert said.startswith("no GPU in use (Driver Not Loaded)")
