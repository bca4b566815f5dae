"""A Slurm for the tests that ask for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from slurm import cluster
from slurm.asking import slurm, wait_for


@pytest.fixture(scope="module")
def rig() -> Iterator[dict[str, str]]:
    with cluster.running() as environment:
        yield environment


@pytest.fixture
def on_the_rig(rig: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in rig.items():
        monkeypatch.setenv(name, value)
    yield
    slurm("scancel", "--user=root")
    wait_for(lambda: not slurm("squeue", "--noheader"))
