"""Which cards, or slices of cards, CUDA shows to this process, and in which order."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nimble_lightning.gpu.nvml import Nvml

_NUMBER = re.compile(r"\+?\d+")
_OLD_SLICE = re.compile(r"MIG-(GPU-[^/]+)/(\d+)/(\d+)")


@dataclass(frozen=True)
class VisibleDevice:
    """One CUDA device: a card, or a slice of one under MIG.

    Attributes:
        handle: NVML's, of the slice where it is one.
        uuid: Empty when unknown.
        card: NVML's handle of the whole card; the same as `handle` unless this is a slice.
        instance: Number of the GPU instance of a slice; None for a whole card.
        compute: Number of the compute instance of a slice.
    """

    handle: Any
    uuid: str
    card: Any
    instance: int | None = None
    compute: int | None = None


@dataclass(frozen=True)
class _Card:
    whole: VisibleDevice
    sliced: bool
    slices: tuple[VisibleDevice, ...] = ()

    @property
    def shown(self) -> VisibleDevice | None:
        """What CUDA shows of a card named as a whole: of a sliced one no more than the first slice."""
        return next(iter(self.slices), None) if self.sliced else self.whole


def visible(nvml: Nvml, environ: Mapping[str, str]) -> list[VisibleDevice]:
    """The devices by CUDA's numbers; of CUDA_VISIBLE_DEVICES, what follows a bad entry is not shown."""
    cards = _cards(nvml)
    wanted = environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return [card.shown for card in cards if card.shown is not None]
    units: list[VisibleDevice] = []
    for word in wanted.split(","):
        unit = _named(word.strip(), cards)
        if unit is None:
            break
        if unit in units:
            return []
        units.append(unit)
    return units


def cuda_is_up() -> bool:
    """Whether this process uses CUDA already."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


def in_cudas_order(units: list[VisibleDevice]) -> list[VisibleDevice]:
    """The order in which CUDA counts the cards: the fastest first, where NVML counts by bus.

    CUDA is asked once it is up in this process; it is never started for that.
    """
    by_uuid = {unit.uuid.split("-", 1)[-1]: unit for unit in units}
    ordered = [by_uuid[uuid] for uuid in _cudas_uuids() if uuid in by_uuid]
    return ordered if len(ordered) == len(units) else units


def _cudas_uuids() -> list[str]:
    if not cuda_is_up():
        return []
    cuda = sys.modules["torch"].cuda
    properties = [cuda.get_device_properties(device) for device in range(cuda.device_count())]
    return [str(getattr(one, "uuid", "")) for one in properties]


def _cards(nvml: Nvml) -> list[_Card]:
    handles = [
        nvml.ask("nvmlDeviceGetHandleByIndex", index) for index in range(nvml.ask("nvmlDeviceGetCount") or 0)
    ]
    # A card this user may not open is not counted by CUDA either.
    return [_card(nvml, handle) for handle in handles if handle is not None]


def _card(nvml: Nvml, handle: Any) -> _Card:
    whole = VisibleDevice(handle, nvml.ask("nvmlDeviceGetUUID", handle) or "", handle)
    mode = nvml.ask("nvmlDeviceGetMigMode", handle)
    if not mode or not mode[0]:
        return _Card(whole, sliced=False)
    places = range(nvml.ask("nvmlDeviceGetMaxMigDeviceCount", handle) or 0)
    slices = [nvml.ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, place) for place in places]
    return _Card(whole, True, tuple(_slice(nvml, part, handle) for part in slices if part is not None))


def _slice(nvml: Nvml, handle: Any, card: Any) -> VisibleDevice:
    instance = nvml.ask("nvmlDeviceGetGpuInstanceId", handle)
    compute = nvml.ask("nvmlDeviceGetComputeInstanceId", handle)
    return VisibleDevice(handle, nvml.ask("nvmlDeviceGetUUID", handle) or "", card, instance or 0, compute)


def _named(word: str, cards: list[_Card]) -> VisibleDevice | None:
    """The device an entry means: a number, or as much of a UUID as tells it from others."""
    if number := _NUMBER.match(word):
        index = int(number[0])
        return cards[index].shown if index < len(cards) else None
    if old := _OLD_SLICE.fullmatch(word):
        slices = [unit for card in cards if card.whole.uuid == old[1] for unit in card.slices]
        return next((u for u in slices if (u.instance, u.compute) == (int(old[2]), int(old[3]))), None)
    if word.startswith("MIG-"):
        return _only([unit for card in cards for unit in card.slices if unit.uuid.startswith(word)])
    if word.startswith("GPU-"):
        return _only([card.shown for card in cards if card.whole.uuid.startswith(word)])
    return None


def _only(units: list[VisibleDevice | None] | list[VisibleDevice]) -> VisibleDevice | None:
    return units[0] if len(units) == 1 else None
