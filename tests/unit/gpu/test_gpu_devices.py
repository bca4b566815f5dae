"""Which GPUs are ours, and what they say; each question may fail alone."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from nimble_lightning.gpu import Gpu, Nvml, devices_in_use
from nimble_lightning.gpu.nvml import opened, replaced_by, why_not
from nimble_lightning.testing import FakeGPU, FakeNVML

QUESTIONS = [
    "memory",
    "utilization",
    "power_watts",
    "energy_joules",
    "power_limit_watts",
    "default_power_limit_watts",
    "temperature",
    "sm_clock",
    "throttle",
    "pcie_traffic",
    "ecc_errors",
    "remap_pending",
]


def uuids(fake: FakeNVML, visible: str | None = None) -> list[str]:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    found = devices_in_use(Nvml(fake), environ)
    assert [gpu.index for gpu in found] == list(range(len(found))), "CUDA counts what it shows from 0"
    return [gpu.uuid for gpu in found]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["GPU-aa", "GPU-ab", "GPU-c"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2,0", ["GPU-c", "GPU-aa"]),
        (" 1 , 2", ["GPU-ab", "GPU-c"]),
        ("0,-1,1", ["GPU-aa"]),
        ("0,7,1", ["GPU-aa"]),
        ("1,1", []),
        ("GPU-c,GPU-ab", ["GPU-c", "GPU-ab"]),
        ("GPU-c,1", ["GPU-c", "GPU-ab"]),
        ("GPU-ab,GPU-gone,GPU-c", ["GPU-ab"]),
        ("GPU-a", []),
    ],
)
def test_devices_have_the_numbers_cuda_gives_them(visible: str | None, expected: list[str]) -> None:
    fake = FakeNVML(FakeGPU(uuid="GPU-aa"), FakeGPU(uuid="GPU-ab"), FakeGPU(uuid="GPU-c"))
    assert uuids(fake, visible) == expected


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["GPU-0", "MIG-1-0"]),
        ("1", ["MIG-1-0"]),
        ("MIG-1-1,MIG-1-0", ["MIG-1-1", "MIG-1-0"]),
        ("MIG-GPU-1/2/0", ["MIG-1-1"]),
        ("MIG-GPU-1/9/0", []),
        ("GPU-1", ["MIG-1-0"]),
        ("2", []),
    ],
)
def test_a_sliced_card_is_its_slices(visible: str | None, expected: list[str]) -> None:
    fake = FakeNVML(FakeGPU(), FakeGPU(slices=[FakeGPU(), FakeGPU()]), FakeGPU(slices=[]))
    assert uuids(fake, visible) == expected


def test_a_slice_has_its_own_memory_and_its_cards_heat_but_no_power() -> None:
    fake = FakeNVML(FakeGPU(temperature=88, slices=[FakeGPU(memory_total=10, memory_used=4, temperature=0)]))
    (part,) = devices_in_use(Nvml(fake), {})
    assert part.is_slice
    assert (part.memory(), part.temperature()) == ((4, 10), 88)
    assert part.power_watts() is part.energy_joules() is part.power_limit_watts() is None


def test_a_card_this_user_may_not_open_is_not_counted() -> None:
    class Partly(FakeNVML):
        def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGPU:
            if index == 0:
                raise self.NVMLError("no permission")
            return self.gpus[index]

    assert uuids(Partly(FakeGPU(), FakeGPU()), "0") == ["GPU-1"]


def test_once_cuda_is_up_its_own_order_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    order = ["b", "a"]
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: len(order),
        get_device_properties=lambda index: SimpleNamespace(uuid=order[index]),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    fake = FakeNVML(FakeGPU(uuid="GPU-a"), FakeGPU(uuid="GPU-b"))
    assert uuids(fake) == ["GPU-b", "GPU-a"]
    order[0] = "a card NVML does not know"
    assert uuids(fake) == ["GPU-a", "GPU-b"]


def gpu(**facts: object) -> Gpu:
    return devices_in_use(Nvml(FakeNVML(FakeGPU(**facts))), {})[0]


def test_answers_come_in_units_people_use() -> None:
    one = gpu(power=250.5, energy=123.456, memory_used=3, memory_total=9, throttle=0x45)
    assert (one.power_watts(), one.energy_joules(), one.memory()) == (250.5, 123.456, (3, 9))
    assert one.throttle() == ["power_cap", "hardware_thermal"], "idle is no reason"
    assert one.pcie_traffic() == (2048, 1024)


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_question_may_fail_alone(question: str) -> None:
    asked: list[str] = []

    class Listening(FakeNVML):
        def __getattr__(self, query: str):
            asked.append(query)
            return super().__getattr__(query)

    card = FakeGPU()
    (one,) = devices_in_use(Nvml(Listening(card)), {})
    asked.clear()
    assert getattr(one, question)() is not None
    card.fails.update(asked)
    assert getattr(one, question)() is None


def test_an_old_driver_is_asked_in_its_own_words() -> None:
    class Old(FakeNVML):
        def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: FakeGPU) -> int:
            return 0x8

        def nvmlDeviceGetTemperatureV(self, gpu: FakeGPU, sensor: int) -> int:
            return 61

    fails = {"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetTemperature", "nvmlDeviceGetName"}
    (one,) = devices_in_use(Nvml(Old(FakeGPU(fails=fails))), {})
    assert (one.throttle(), one.temperature(), one.name) == (["hardware_slowdown"], 61, "unknown GPU")


def test_another_library_is_asked_only_while_it_stands_in() -> None:
    before = opened()
    with FakeNVML(FakeGPU()) as fake:
        assert [g.uuid for g in devices_in_use(environ={})] == ["GPU-0"]
        assert why_not() == ""
        with replaced_by(FakeNVML()):
            assert devices_in_use(environ={}) == []
        assert opened() is not None
        assert opened().library is fake
    assert opened() is before


def test_an_error_of_another_family_is_unknown_as_well() -> None:
    class Mismatch(Exception):
        pass

    class Old(FakeNVML):
        NVMLLibraryMismatchError = Mismatch

        def nvmlDeviceGetUUID(self, gpu: FakeGPU) -> str:
            raise Mismatch("the library is older than pynvml")

    assert uuids(Old(FakeGPU())) == [""]
