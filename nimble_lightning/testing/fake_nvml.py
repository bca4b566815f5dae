"""A driver without a card: what `pynvml` would say of GPUs that are only made up."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from nimble_lightning.gpu.nvml import Nvml, replaced_by

GB = 10**9


class NVMLError(Exception):
    """What a query that fails raises."""


@dataclass(eq=False)
class FakeGPU:
    """A card, or a slice of one. Change its attributes to let things happen; None means unknown.

    Attributes:
        name: As the driver calls it.
        uuid: `GPU-0`, `GPU-1`, ... unless given.
        fails: Queries, by their name in `pynvml`, that fail on this card.
        energy: Joules counted so far.
        throttle: Bits of NVML, such as 0x40 for heat.
        sm_active: Per cent of multiprocessors busy, where performance monitoring is to be supported.
        pcie: Generation and width of the link, then what it could be.
        processes: Process number and bytes of each process that computes on it.
        nvlinks: How many links are up; each other card is reached over them.
        slices: Its slices; None when MIG is off.
    """

    name: str = "NVIDIA Fake"
    uuid: str = ""
    fails: set[str] = field(default_factory=set)
    memory_used: int = GB
    memory_total: int = 80 * GB
    utilization: float | None = 90.0
    power: float = 300.0
    power_limit: float = 700.0
    default_power_limit: float = 700.0
    energy: float = 1000.0
    temperature: float = 50.0
    sm_clock: float = 1980.0
    throttle: int = 0
    ecc_errors: int = 0
    remap_pending: bool = False
    sm_active: float | None = None
    pcie: tuple[int, int, int, int] = (5, 16, 5, 16)
    pcie_traffic: tuple[float, float] = (2048.0, 1024.0)
    processes: list[tuple[int, int]] = field(default_factory=list)
    nvlinks: int = 0
    slices: list[FakeGPU] | None = None
    instance: int = 0


class FakeNVML:
    """Stands in for the driver in everything of this package, in this process, while it is entered.

    Attributes:
        gpus: The cards.
        open_samples: What was allocated for performance monitoring and not given back.

    Example::

        with FakeNVML(FakeGPU(throttle=0x40)) as nvml:
            trainer = L.Trainer(callbacks=[GPUInfo(devices=[0])], max_epochs=1)
            trainer.fit(model)          # tells that GPU 0 is too hot
    """

    NVMLError = NVMLError

    def __init__(self, *gpus: FakeGPU) -> None:
        self.gpus = list(gpus)
        self.open_samples: list[SimpleNamespace] = []
        self._entered: list[AbstractContextManager[Nvml]] = []
        for number, gpu in enumerate(self.gpus):
            gpu.uuid = gpu.uuid or f"GPU-{number}"
            for place, part in enumerate(gpu.slices or []):
                part.uuid = part.uuid or f"MIG-{number}-{place}"
                part.instance = place + 1

    def __enter__(self) -> FakeNVML:
        context = replaced_by(self)
        context.__enter__()
        self._entered.append(context)
        return self

    def __exit__(self, *error: Any) -> None:
        self._entered.pop().__exit__(*error)

    def __getattr__(self, query: str) -> Any:
        answer = _ANSWERS.get(query)
        if answer is None:
            raise AttributeError(query)

        def ask(*arguments: Any) -> Any:
            about = arguments[0] if arguments and isinstance(arguments[0], FakeGPU) else None
            if about is not None and query in about.fails:
                raise NVMLError(f"{query} is not supported")
            value = answer(self, *arguments)
            if value is None:
                raise NVMLError(f"{query} found nothing")
            return value

        return ask


def _at(items: list[FakeGPU] | None, index: int) -> FakeGPU | None:
    return items[index] if items and index < len(items) else None


def _card_of(nvml: FakeNVML, part: FakeGPU) -> FakeGPU | None:
    return next((gpu for gpu in nvml.gpus if gpu.slices and part in gpu.slices), None)


def _allocate(nvml: FakeNVML) -> SimpleNamespace:
    nvml.open_samples.append(SimpleNamespace(gpu=None))
    return nvml.open_samples[-1]


def _sample(nvml: FakeNVML, gpu: FakeGPU, sample: SimpleNamespace) -> SimpleNamespace:
    sample.gpu = gpu
    return sample


def _compare(nvml: FakeNVML, request: SimpleNamespace) -> SimpleNamespace:
    gpu, mib = request.sample2.gpu, 2.0**20
    values = {2: gpu.sm_active, 20: gpu.pcie_traffic[1] / mib, 21: gpu.pcie_traffic[0] / mib}
    for metric in request.metrics[: request.numMetrics]:
        metric.value, metric.nvmlReturn = values[metric.metricId], 0
    return request


# By pynvml's names and in NVML's units: what is asked of the library, and what is asked of a card.
_ANSWERS: dict[str, Any] = {
    "nvmlDeviceGetCount": lambda nvml: len(nvml.gpus),
    "nvmlDeviceGetHandleByIndex": lambda nvml, index: _at(nvml.gpus, index),
    "nvmlSystemGetDriverVersion": lambda nvml: "999.99",
    "nvmlSystemGetCudaDriverVersion": lambda nvml: 13000,
    "nvmlDeviceGetName": lambda nvml, gpu: gpu.name,
    "nvmlDeviceGetUUID": lambda nvml, gpu: gpu.uuid,
    "nvmlDeviceGetMemoryInfo": lambda nvml, gpu: SimpleNamespace(
        used=gpu.memory_used, total=gpu.memory_total, free=gpu.memory_total - gpu.memory_used
    ),
    "nvmlDeviceGetUtilizationRates": lambda nvml, gpu: (
        None if gpu.utilization is None else SimpleNamespace(gpu=gpu.utilization, memory=0)
    ),
    "nvmlDeviceGetPowerUsage": lambda nvml, gpu: round(gpu.power * 1000),
    "nvmlDeviceGetTotalEnergyConsumption": lambda nvml, gpu: round(gpu.energy * 1000),
    "nvmlDeviceGetEnforcedPowerLimit": lambda nvml, gpu: round(gpu.power_limit * 1000),
    "nvmlDeviceGetPowerManagementDefaultLimit": lambda nvml, gpu: round(gpu.default_power_limit * 1000),
    "nvmlDeviceGetTemperature": lambda nvml, gpu, sensor: gpu.temperature,
    "nvmlDeviceGetClockInfo": lambda nvml, gpu, kind: gpu.sm_clock,
    "nvmlDeviceGetCurrentClocksEventReasons": lambda nvml, gpu: gpu.throttle,
    "nvmlDeviceGetPcieThroughput": lambda nvml, gpu, kind: gpu.pcie_traffic[1 - kind] / 1024,
    "nvmlDeviceGetCurrPcieLinkGeneration": lambda nvml, gpu: gpu.pcie[0],
    "nvmlDeviceGetCurrPcieLinkWidth": lambda nvml, gpu: gpu.pcie[1],
    "nvmlDeviceGetMaxPcieLinkGeneration": lambda nvml, gpu: gpu.pcie[2],
    "nvmlDeviceGetMaxPcieLinkWidth": lambda nvml, gpu: gpu.pcie[3],
    "nvmlDeviceGetTotalEccErrors": lambda nvml, gpu, kind, counter: gpu.ecc_errors,
    "nvmlDeviceGetRemappedRows": lambda nvml, gpu: (0, 0, int(gpu.remap_pending), 0),
    "nvmlDeviceGetComputeRunningProcesses": lambda nvml, gpu: [
        SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in gpu.processes
    ],
    "nvmlDeviceGetMigMode": lambda nvml, gpu: [int(gpu.slices is not None)] * 2,
    "nvmlDeviceGetMaxMigDeviceCount": lambda nvml, gpu: 7,
    "nvmlDeviceGetMigDeviceHandleByIndex": lambda nvml, gpu, place: _at(gpu.slices, place),
    "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": _card_of,
    "nvmlDeviceGetGpuInstanceId": lambda nvml, part: part.instance,
    "nvmlDeviceGetComputeInstanceId": lambda nvml, part: 0,
    "nvmlDeviceGetNvLinkState": lambda nvml, gpu, link: int(link < gpu.nvlinks),
    "nvmlDeviceGetP2PStatus": lambda nvml, one, other, kind: 0 if one.nvlinks and other.nvlinks else 5,
    "nvmlDeviceGetTopologyCommonAncestor": lambda nvml, one, other: 50,
    "nvmlGpmQueryDeviceSupport": lambda nvml, gpu: SimpleNamespace(
        isSupportedDevice=int(gpu.sm_active is not None)
    ),
    "nvmlGpmSampleAlloc": _allocate,
    "nvmlGpmSampleFree": lambda nvml, sample: nvml.open_samples.remove(sample),
    "nvmlGpmSampleGet": _sample,
    "nvmlGpmMigSampleGet": lambda nvml, gpu, instance, sample: _sample(
        nvml, next(part for part in gpu.slices if part.instance == instance), sample
    ),
    "nvmlGpmMetricsGet": _compare,
    "c_nvmlGpmMetricsGet_t": lambda nvml: SimpleNamespace(metrics=[SimpleNamespace() for _ in range(8)]),
}
