"""Machines of one's own, as far as networks go: two network namespaces with a cable between them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

ADDRESSES = ("10.77.0.1", "10.77.0.2")


@contextmanager
def two_machines() -> Iterator[list[str]]:
    """The names of the namespaces. Skips the test where they cannot be made."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs root and iproute2 to make network namespaces")
    names = [f"nimble-{os.getpid()}-{number}" for number in range(2)]
    ends = [f"nl{os.getpid() % 100000}{end}" for end in "ab"]
    try:
        try:
            for name in names:
                _ip("netns", "add", name)
            _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
        for name, end, address in zip(names, ends, ADDRESSES, strict=True):
            _ip("link", "set", end, "netns", name)
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
            for link in ("lo", end):
                _ip("-n", name, "link", "set", link, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def cable(name: str, state: str) -> None:
    """Pull the cable out of a machine ("down"), which tells nobody, or put it back ("up")."""
    ends = [line.split()[0].partition("@")[0] for line in _ip("-n", name, "-br", "link").splitlines()]
    _ip("-n", name, "link", "set", next(end for end in ends if end != "lo"), state)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
