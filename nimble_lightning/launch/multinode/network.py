"""Which of this machine's addresses the other machines of a run know it by."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct

from nimble_lightning.errors import RequestError

_SIOCGIFADDR = 0x8915


def resolved(host: str) -> str:
    """The address of a host.

    Raises:
        RequestError: Nobody here knows it.
    """
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise RequestError(f"launch.rdzv_endpoint: {host} is not known here: {error.strerror}.") from None


def is_here(address: str) -> bool:
    """Whether an address is one of this machine's: nobody can listen at that of another."""
    try:
        with socket.socket(_family(address), socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def facing(address: str) -> str:
    """This machine's address on the way to another; nothing is sent."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
        except OSError as error:
            raise RequestError(
                f"launch.rdzv_endpoint: there is no way from here to {address}: {error.strerror}."
            ) from None
        return str(probe.getsockname()[0])


def interface(address: str) -> str | None:
    """The network interface that has an address of this machine; None where that cannot be told."""
    if _family(address) != socket.AF_INET:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                packed = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue
            if socket.inet_ntoa(packed[20:24]) == address:
                return name
    return None


def only_here(address: str) -> bool:
    """Whether no other machine can reach it."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
