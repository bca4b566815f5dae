"""Devices and machine, looked at again and again: what is written, what is said, and at which price."""

from __future__ import annotations

import json
import logging
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from nimble_lightning.gpu import Nvml, devices_in_use
from nimble_lightning.gpu import watch as watching_module
from nimble_lightning.gpu.alarms import Alarm
from nimble_lightning.gpu.host import Host
from nimble_lightning.gpu.sample import SampleReader, allocator, brief, metrics
from nimble_lightning.gpu.watch import GpuWatch, Sampler, file_name
from nimble_lightning.testing import FakeGPU, FakeNVML


def watch(fake: FakeNVML, file: Path, said: list[Alarm] | None = None, host: Host | None = None) -> GpuWatch:
    facts = {"attempt": 2, "rank": 0, "step": 7}
    told: list[Alarm] = [] if said is None else said
    return GpuWatch(devices_in_use(Nvml(fake), {}), host, file, lambda: facts, told.append)


def test_each_look_is_a_line(tmp_path: Path) -> None:
    fake = FakeNVML(FakeGPU(energy=5.0, throttle=0x4), FakeGPU())
    watching = watch(fake, tmp_path / "new" / "gpu.jsonl", host=Host(tmp_path))
    watching.look()
    fake.gpus[0].energy = 9.0
    watching.look()
    first, second = (json.loads(line) for line in (tmp_path / "new" / "gpu.jsonl").read_text().splitlines())
    assert (first["attempt"], first["rank"], first["step"]) == (2, 0, 7)
    assert [device["index"] for device in first["devices"]] == [0, 1]
    assert first["devices"][0]["throttle"] == ["power_cap"]
    assert (first["devices"][0]["energy"], second["devices"][0]["energy"]) == (5.0, 9.0)
    assert second["host"]["ram_total"] > 0
    assert watching.latest == second
    assert second["time"] >= first["time"] > 1.7e9


def test_what_is_unknown_is_written_as_null(tmp_path: Path) -> None:
    fails = {
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetMemoryInfo",
    }
    watching = watch(FakeNVML(FakeGPU(fails=fails)), tmp_path / "gpu.jsonl")
    watching.look()
    (device,) = json.loads((tmp_path / "gpu.jsonl").read_text())["devices"]
    assert device["utilization"] is device["energy"] is device["memory_used"] is None
    assert device["power"] == 300.0


def test_an_alarm_is_told_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    said: list[Alarm] = []
    watching = watch(FakeNVML(FakeGPU(throttle=0x40)), tmp_path / "gpu.jsonl", said)
    for _ in range(3):
        watching.look()
    assert [alarm.name for alarm in said] == ["heat"]
    assert [record.getMessage() for record in caplog.records] == [said[0].text]


def test_a_full_disk_is_said_once_and_used_again_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "gpu.jsonl"
    watching = watch(FakeNVML(FakeGPU()), file)
    room = 10
    write = watching_module.os.write
    monkeypatch.setattr(watching_module.os, "write", lambda fd, data: write(fd, data[:room]))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            watching.look()
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text
    room = 10**6
    watching.look()
    assert json.loads(file.read_text().splitlines()[-1])["rank"] == 0


def test_a_line_cut_short_by_a_kill_does_not_swallow_the_next(tmp_path: Path) -> None:
    file = tmp_path / "gpu.jsonl"
    file.write_text('{"time": 1}\n{"ti')
    watching_module.append(file, '{"time": 3}')
    watching_module.append(file, '{"time": 4}')
    assert file.read_text() == '{"time": 1}\n{"ti\n{"time": 3}\n{"time": 4}\n'


def test_ranks_have_files_of_their_own() -> None:
    assert [file_name(rank) for rank in (0, 3)] == ["gpu.jsonl", "gpu.rank-3.jsonl"]


def test_monitoring_spares_the_slow_way_to_the_traffic() -> None:
    fake = FakeNVML(FakeGPU(sm_active=70.0, pcie_traffic=(8e6, 4e6)))
    reader = SampleReader(devices_in_use(Nvml(fake), {})[0])
    reader.read()
    fake.gpus[0].fails.add("nvmlDeviceGetPcieThroughput")
    facts = reader.read()
    assert (facts["sm_active"], facts["pcie_rx"], facts["pcie_tx"]) == (70.0, 8e6, 4e6)
    reader.close()
    assert fake.open_samples == []


def torch_with(monkeypatch: pytest.MonkeyPatch, *, initialised: bool, answer: object) -> None:
    def stats(index: int) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    cuda = SimpleNamespace(
        is_initialized=lambda: initialised, memory_stats_as_nested_dict=stats, device_count=lambda: 0
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))


def test_the_allocator_is_asked_only_once_cuda_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = {"reserved_bytes": {"all": {"current": 5, "peak": 9}}}
    torch_with(monkeypatch, initialised=False, answer=stats)
    assert allocator(0) is None
    torch_with(monkeypatch, initialised=True, answer=stats)
    assert allocator(0) == (5, 9)


@pytest.mark.parametrize("broken", [RuntimeError("device-side assert"), {"other": {}}])
def test_an_allocator_that_cannot_be_asked_is_unknown(
    monkeypatch: pytest.MonkeyPatch, broken: object
) -> None:
    torch_with(monkeypatch, initialised=True, answer=broken)
    assert allocator(0) is None


def test_loggers_get_what_is_known_by_the_names_of_the_file() -> None:
    sample = {
        "devices": [{"index": 1, "utilization": 93.0, "power": None, "name": "x", "throttle": []}],
        "host": {"cpu": 12.0, "disk_free": 5},
    }
    assert metrics(sample) == {"gpu/1/utilization": 93.0, "host/cpu": 12.0}
    assert metrics({"devices": []}) == {}


GPU = {"utilization": 93.0, "temperature": 71.0, "memory_used": 40.2e9, "memory_total": 80e9}


@pytest.mark.parametrize(
    ("devices", "host", "words"),
    [
        ([GPU], None, "GPU 93 % 71 °C 40.2/80.0 GB"),
        ([GPU, {**GPU, "utilization": 7.0, "temperature": 80.0}], None, "2 GPUs 50 % 80 °C 80.4/160.0 GB"),
        ([{"utilization": 93.0}], None, "GPU 93 %"),
        ([{}], None, ""),
        ([], {"cpu": 30.4, "ram_used": 2e9, "ram_total": 16e9}, "CPU 30 % RAM 2.0/16.0 GB"),
        ([], None, ""),
    ],
)
def test_a_look_in_a_few_words(
    devices: list[dict[str, float]], host: dict[str, float] | None, words: str
) -> None:
    assert brief(devices, host) == words


def test_a_sampler_looks_until_it_is_stopped_and_leaves_no_thread() -> None:
    looked = threading.Semaphore(0)
    sampler = Sampler(looked.release, interval=0.001)
    sampler.start()
    assert all(looked.acquire(timeout=30) for _ in range(3))
    assert sampler.stop()
    assert "gpu-sampler" not in {thread.name for thread in threading.enumerate()}


def test_a_look_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching_module, "_PATIENCE_SECONDS", 0.01)
    hanging, answer = threading.Event(), threading.Event()

    def look() -> None:
        hanging.set()
        answer.wait(30)

    sampler = Sampler(look, interval=0.001)
    sampler.start()
    assert hanging.wait(30)
    assert not sampler.stop()
    answer.set()
    assert sampler.stop()


def test_looks_that_are_dear_are_made_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look of 10 ms of work is followed by two seconds without one: half a per cent of a core."""
    work = iter([0.0, 0.010, 0.010, 0.0101])
    monkeypatch.setattr(watching_module.time, "thread_time", lambda: next(work))
    monkeypatch.setattr(watching_module.time, "monotonic", lambda: 0.0)
    sampler = Sampler(lambda: None, interval=1.0)
    waits: list[float] = []

    class Ended:
        def wait(self, seconds: float) -> bool:
            waits.append(seconds)
            return len(waits) > 2

    sampler._ended = Ended()  # type: ignore[assignment]
    sampler._run()
    assert waits == pytest.approx([0.0, 2.0, 1.0])
    assert sampler.cpu_seconds == pytest.approx(0.0101)
