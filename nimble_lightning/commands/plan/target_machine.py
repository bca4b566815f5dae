"""The machine that is planned for: what was named, what is here, or what has to be assumed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from nimble_lightning.planning.machine import Machine, machine
from nimble_lightning.runs import device_count
from nimble_lightning.settings import Processes

_DEVICE, _NETWORK, _A_NODE = "H100", "IB-NDR", 8


@dataclass(frozen=True)
class MachineRequest:
    """The options of the command."""

    device: str = ""
    network: str = ""
    json: bool = False


def machine_for(processes: Processes, asked: MachineRequest) -> Machine:
    """What `lightning.devices` and `.num_nodes` come to, on the device that was asked for or is here."""
    here = torch.cuda.is_available()
    device = asked.device or (torch.cuda.get_device_name(0) if here else _DEVICE)
    nodes = processes.num_nodes
    a_node, notes = device_count.count(replace(processes, accelerator="gpu")), []
    if not asked.device and not here:
        notes.append(f"there is no GPU here: --device {_DEVICE} is assumed")
    if processes.devices in ("auto", -1) and not here and nodes > 1:
        a_node = _A_NODE
        notes.append(f"lightning.devices={_A_NODE} is assumed")
    if nodes > 1 and not asked.network:
        notes.append(f"--network {_NETWORK} is assumed, a port for each device")
    found = machine(device, asked.network or _NETWORK, a_node, nodes, tuple(notes))
    if here and not asked.device:
        found = replace(found, memory=torch.cuda.get_device_properties(0).total_memory)
    return found
