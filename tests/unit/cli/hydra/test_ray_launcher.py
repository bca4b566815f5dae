"""What Ray is asked for, and when it is not there to be asked."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from nimble_lightning.cli.arguments import parse
from nimble_lightning.cli.hydra import ray_launcher
from nimble_lightning.cli.request_plan import make_plan
from nimble_lightning.errors import RequestError


def asked(*words: str, multirun: bool = True) -> dict[str, object]:
    """What Hydra is told, by key."""
    config = make_plan(parse(list(words))).config
    parsed = OverridesParser.create().parse_overrides(ray_launcher.overrides(config, multirun=multirun))
    return {override.key_or_group: override.value() for override in parsed}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_launcher, "version", lambda name: "1.2.2")


def test_a_sweep_that_is_not_for_ray_says_nothing_to_it() -> None:
    assert asked() == asked("launch=slurm") == {}


@pytest.mark.usefixtures("installed")
def test_a_member_asks_for_its_cores_and_devices() -> None:
    told = asked("launch=ray", "launch.cpus=2", "launch.gpus=0.5")
    assert told["hydra/launcher"] == "ray"
    assert told["hydra.launcher.ray"]["remote"] == {"num_cpus": 2, "num_gpus": 0.5}  # type: ignore[index]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("address", ["auto", "10.0.0.1:6379"])
def test_a_ray_that_runs_is_not_told_how_to_start(address: str) -> None:
    told = asked("launch=ray", f"launch.address={address}")
    init = {"address": address, "object_store_memory": None}
    assert told["hydra.launcher.ray"]["init"] == init  # type: ignore[index]


@pytest.mark.usefixtures("installed")
def test_one_run_is_nothing_for_ray() -> None:
    with pytest.raises(RequestError, match="members of a sweep\nAdd -m"):
        asked("launch=ray", multirun=False)


def test_how_to_get_it_is_said_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(ray_launcher, "version", missing)
    with pytest.raises(RequestError, match=r'pip install "nimble-lightning\[ray\]"'):
        asked("launch=ray")
