"""One CUDA device and what its driver says about it from moment to moment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from nimble_lightning.gpu.nvml import Nvml, opened
from nimble_lightning.gpu.visible_devices import VisibleDevice, in_cudas_order, visible

# Bits of NVML. That a card is idle is no reason to slow down.
THROTTLE = {
    0x2: "application_clocks",
    0x4: "power_cap",
    0x8: "hardware_slowdown",
    0x10: "sync_boost",
    0x20: "software_thermal",
    0x40: "hardware_thermal",
    0x80: "power_brake",
    0x100: "display_clocks",
}
_SM_CLOCK = 1
_TRANSMITTED, _RECEIVED = 0, 1
_UNCORRECTED, _SINCE_BOOT = 1, 0


class Gpu:
    """A device of CUDA's; every method returns None when the answer is not to be had.

    A slice of a card (MIG) has memory of its own; heat, clocks and errors are the card's, and no meter
    tells its power from that of its neighbours.

    Attributes:
        index: CUDA's number, as in `cuda:0`.
        uuid: Empty when unknown.
        name: As the driver calls it.
        unit: NVML's handles.
    """

    def __init__(self, nvml: Nvml, index: int, unit: VisibleDevice) -> None:
        self.nvml = nvml
        self.index = index
        self.unit = unit
        self.uuid = unit.uuid
        self.name: str = nvml.ask("nvmlDeviceGetName", unit.handle) or "unknown GPU"

    @property
    def is_slice(self) -> bool:
        return self.unit.instance is not None

    def memory(self) -> tuple[int, int] | None:
        """Bytes used, by anybody, and in total."""
        info = self.nvml.ask("nvmlDeviceGetMemoryInfo", self.unit.handle)
        return None if info is None else (int(info.used), int(info.total))

    def utilization(self) -> float | None:
        """Per cent of the time in which anything ran, however little of the card it used."""
        rates = self.nvml.ask("nvmlDeviceGetUtilizationRates", self.unit.handle)
        return None if rates is None else float(rates.gpu)

    def power_watts(self) -> float | None:
        """Power drawn now."""
        return self._thousandths("nvmlDeviceGetPowerUsage")

    def energy_joules(self) -> float | None:
        """A counter since the driver was loaded; it ticks about ten times a second."""
        return self._thousandths("nvmlDeviceGetTotalEnergyConsumption")

    def power_limit_watts(self) -> float | None:
        """The power it is held to."""
        return self._thousandths("nvmlDeviceGetEnforcedPowerLimit")

    def default_power_limit_watts(self) -> float | None:
        """The power it was built for."""
        return self._thousandths("nvmlDeviceGetPowerManagementDefaultLimit")

    def temperature(self) -> float | None:
        """Degrees Celsius of the chip."""
        ask, card = self.nvml.ask, self.unit.card
        celsius = ask("nvmlDeviceGetTemperature", card, 0)
        if celsius is None:
            celsius = ask("nvmlDeviceGetTemperatureV", card, 0)
        return None if celsius is None else float(celsius)

    def sm_clock(self) -> float | None:
        """MHz of the multiprocessors."""
        clock = self.nvml.ask("nvmlDeviceGetClockInfo", self.unit.card, _SM_CLOCK)
        return None if clock is None else float(clock)

    def throttle(self) -> list[str] | None:
        """Why it runs slower than it could, by the names in `THROTTLE`."""
        ask, card = self.nvml.ask, self.unit.card
        bits = ask("nvmlDeviceGetCurrentClocksEventReasons", card)
        if bits is None:
            bits = ask("nvmlDeviceGetCurrentClocksThrottleReasons", card)
        return None if bits is None else [name for bit, name in THROTTLE.items() if bits & bit]

    def pcie_traffic(self) -> tuple[float, float] | None:
        """Bytes a second received and transmitted, over 20 ms each, for which the caller waits."""
        ask, card = self.nvml.ask, self.unit.card
        received = ask("nvmlDeviceGetPcieThroughput", card, _RECEIVED)
        transmitted = ask("nvmlDeviceGetPcieThroughput", card, _TRANSMITTED)
        return None if received is None or transmitted is None else (received * 1024.0, transmitted * 1024.0)

    def ecc_errors(self) -> int | None:
        """Memory errors that could not be corrected, since the machine was started."""
        count = self.nvml.ask("nvmlDeviceGetTotalEccErrors", self.unit.card, _UNCORRECTED, _SINCE_BOOT)
        return None if count is None else int(count)

    def remap_pending(self) -> bool | None:
        """Whether bad memory waits for a reset to be taken out of use."""
        rows = self.nvml.ask("nvmlDeviceGetRemappedRows", self.unit.card)
        if rows is not None:
            return bool(rows[2])
        pages = self.nvml.ask("nvmlDeviceGetRetiredPagesPendingStatus", self.unit.card)
        return None if pages is None else bool(pages)

    def _thousandths(self, query: str) -> float | None:
        if self.is_slice:
            return None
        value = self.nvml.ask(query, self.unit.handle)
        return None if value is None else value / 1000.0


def devices_in_use(nvml: Nvml | None = None, environ: Mapping[str, str] | None = None) -> list[Gpu]:
    """The devices CUDA shows to this process, by CUDA's numbers; none without a driver.

    CUDA is not started for it, and CUDA_VISIBLE_DEVICES counts.

    Args:
        nvml: What to ask instead of the driver.
        environ: The environment to look at instead of this process's.
    """
    nvml = nvml or opened()
    if nvml is None:
        return []
    units = visible(nvml, os.environ if environ is None else environ)
    return [Gpu(nvml, index, unit) for index, unit in enumerate(in_cudas_order(units))]
