"""The machine that is planned for: what was named, what is here, or what has to be assumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from nimble_lightning.planning.machine import Machine, machine
from nimble_lightning.runtime import devices

_DEVICE, _NETWORK, _A_NODE = "H100", "IB-NDR", 8


@dataclass(frozen=True)
class Asked:
    """The options of the command."""

    device: str = ""
    network: str = ""
    json: bool = False


def machine_for(lightning: Mapping[str, Any], asked: Asked) -> Machine:
    """What `lightning.devices` and `.num_nodes` come to, on the device that was asked for or is here."""
    here = torch.cuda.is_available()
    device = asked.device or (torch.cuda.get_device_name(0) if here else _DEVICE)
    nodes = int(lightning.get("num_nodes") or 1)
    a_node, notes = devices.count({**lightning, "accelerator": "gpu"}), []
    if not asked.device and not here:
        notes.append(f"there is no GPU here: --device {_DEVICE} is assumed")
    if lightning.get("devices", "auto") in ("auto", -1) and not here and nodes > 1:
        a_node = _A_NODE
        notes.append(f"lightning.devices={_A_NODE} is assumed")
    if nodes > 1 and not asked.network:
        notes.append(f"--network {_NETWORK} is assumed, a port for each device")
    found = machine(device, asked.network or _NETWORK, a_node, nodes, tuple(notes))
    if here and not asked.device:
        found = replace(found, memory=torch.cuda.get_device_properties(0).total_memory)
    return found
