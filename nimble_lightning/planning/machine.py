"""Devices and the links between them: what a plan reckons with, and where each figure is from."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

from nimble_lightning.errors import RequestError
from nimble_lightning.usage.peaks import capacity_of, known_devices, peak_of

GIB = 2**30
_GIGA = 1e9


@dataclass(frozen=True)
class Machine:
    """Equal nodes of equal devices.

    Attributes:
        device: Its name.
        memory: Bytes of one device.
        bandwidth: Bytes a second from and to its own memory.
        inside: Bytes a second a device sends to others of its node.
        between: Bytes a second a device sends to other nodes.
        a_node: Devices in a node.
        nodes: How many.
        notes: What was assumed, a sentence each.
    """

    device: str
    memory: int
    bandwidth: float
    inside: float
    between: float
    a_node: int
    nodes: int
    notes: tuple[str, ...] = ()

    @property
    def ranks(self) -> int:
        return self.a_node * self.nodes

    def flops(self, number: str) -> tuple[float | None, str]:
        """Operations a second in some type of number, and where that is from or why it is not known."""
        return peak_of(self.device, number)


def machine(device: str, network: str, a_node: int, nodes: int, notes: tuple[str, ...] = ()) -> Machine:
    """Look a device and a network up.

    Raises:
        RequestError: If one of them is not in the tables.
    """
    found = capacity_of(device)
    if found is None:
        raise RequestError(
            f"The device {device} is not in the table. Choose with --device: {', '.join(known_devices())}."
        )
    return Machine(
        device,
        int(found.memory * GIB),
        found.bandwidth * _GIGA,
        found.link * _GIGA,
        _network(network),
        a_node,
        nodes,
        notes,
    )


def _network(name: str) -> float:
    with files(__package__).joinpath("networks.csv").open(encoding="utf-8") as file:
        rows = {row["name"].casefold(): row for row in csv.DictReader(file)}
    row = rows.get(name.casefold())
    if row is None:
        names = ", ".join(row["name"] for row in rows.values())
        raise RequestError(f"The network {name} is not in the table. Choose with --network: {names}.")
    return float(row["gbit"]) * _GIGA / 8
