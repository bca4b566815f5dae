from __future__ import annotations

from pathlib import Path

import pytest

from nimble_lightning.usage import host_energy
from nimble_lightning.usage.energy import COUNTER, CPU, POWER, RAPL, Energy


class Counting:
    """A GPU whose counter goes up by what it is told."""

    def __init__(self, *joules: float | None) -> None:
        self.joules = list(joules)

    def energy_joules(self) -> float | None:
        return self.joules.pop(0)

    def power_watts(self) -> float | None:
        raise AssertionError("the counter is there")


class Drawing:
    """A GPU without a counter."""

    def __init__(self, watts: float | None) -> None:
        self.watts = watts

    def energy_joules(self) -> float | None:
        return None

    def power_watts(self) -> float | None:
        return self.watts


@pytest.fixture
def minute_by_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a minute whenever it is looked at."""
    minutes = iter(range(0, 10_000, 60))
    monkeypatch.setattr("nimble_lightning.usage.energy.time.monotonic", lambda: float(next(minutes)))


def test_the_counters_of_gpus_are_added_up_from_the_start() -> None:
    energy = Energy([Counting(1000.0, 1300.0, 1400.0), Counting(50.0, 60.0, 70.0)])
    energy.update()
    energy.update()
    assert energy.joules["gpu"] == 420.0
    assert energy.sources["gpu"] == COUNTER


def test_a_driver_that_was_loaded_again_counts_from_zero() -> None:
    energy = Energy([Counting(1000.0, 30.0)])
    energy.update()
    assert energy.joules["gpu"] == 30.0


def test_a_counter_that_cannot_be_read_for_once_loses_nothing() -> None:
    energy = Energy([Counting(1000.0, None, 1500.0)])
    energy.update()
    energy.update()
    assert energy.joules["gpu"] == 500.0


@pytest.mark.usefixtures("minute_by_minute")
def test_without_a_counter_power_is_added_up_over_time() -> None:
    gpu = Drawing(100.0)
    energy = Energy([gpu])
    energy.update()
    gpu.watts = 300.0
    energy.update()
    assert energy.joules["gpu"] == 100 * 60 + 200 * 60
    assert energy.sources["gpu"] == POWER


@pytest.mark.usefixtures("minute_by_minute")
def test_what_no_gpu_tells_is_unknown() -> None:
    energy = Energy([Drawing(None)])
    energy.update()
    assert energy.joules["gpu"] is None


@pytest.mark.usefixtures("minute_by_minute")
def test_memory_is_estimated_from_what_is_held() -> None:
    energy = Energy()
    energy.update()
    gib = host_energy.memory_used() / 2**30
    assert energy.joules["ram"] == pytest.approx(gib * host_energy.WATTS_A_GIB * 60, rel=0.1)


def test_the_processor_is_estimated_from_the_time_it_was_used() -> None:
    energy = Energy(rapl=host_energy.Rapl(Path("/nowhere")))
    before = host_energy.busy_seconds()
    while host_energy.busy_seconds() - before < 0.1:
        sum(range(10_000))
    energy.update()
    assert energy.sources["cpu"] == CPU
    assert energy.joules["cpu"] == pytest.approx(0.1 * host_energy.WATTS_A_CORE, rel=0.8)


def test_a_process_that_counts_from_its_birth_counts_what_it_did_before() -> None:
    energy = Energy(from_birth=True)
    energy.update()
    assert energy.joules["cpu"] == pytest.approx(
        host_energy.busy_seconds() * host_energy.WATTS_A_CORE, rel=0.2
    )


def zone(root: Path, name: str, joules: float, most: float = 1000.0) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
    (folder / "max_energy_range_uj").write_text(f"{int(most * 1e6)}\n")
    return folder


def test_counters_of_processors_are_read_where_they_can_be(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 100)
    zone(tmp_path, "intel-rapl:1", 200)
    zone(tmp_path, "intel-rapl:0:0", 50)
    energy = Energy(rapl=host_energy.Rapl(tmp_path))
    zone(tmp_path, "intel-rapl:0", 130)
    zone(tmp_path, "intel-rapl:1", 220)
    zone(tmp_path, "intel-rapl:0:0", 90)
    energy.update()
    assert energy.joules["cpu"] == 50.0, "a part of a processor is not counted a second time"
    assert energy.sources["cpu"] == RAPL


def test_a_counter_that_starts_again_from_zero_has_gone_on(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 990)
    rapl = host_energy.Rapl(tmp_path)
    zone(tmp_path, "intel-rapl:0", 15)
    assert rapl.joules() == pytest.approx(25.0)


def test_one_process_of_a_machine_counts_its_processors(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 100)
    other = Energy(rapl=host_energy.Rapl(tmp_path, mine=False))
    zone(tmp_path, "intel-rapl:0", 130)
    other.update()
    assert other.joules["cpu"] == 0.0


def test_counters_that_may_not_be_read_are_none(tmp_path: Path) -> None:
    (zone(tmp_path, "intel-rapl:0", 100) / "energy_uj").unlink()
    assert not host_energy.Rapl(tmp_path).readable


def test_a_process_knows_its_age_and_its_memory() -> None:
    assert host_energy.process_age() > 0
    assert 0 < host_energy.memory_used() <= host_energy.memory_peak() * 1.1
    assert host_energy.memory_total() > host_energy.memory_peak()
