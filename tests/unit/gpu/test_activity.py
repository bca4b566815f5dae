"""Performance monitoring where a card has it, and nothing where it has not."""

from __future__ import annotations

import pytest

from nimble_lightning.gpu import Nvml, devices_in_use
from nimble_lightning.gpu.sample import Activity, ActivityMeter
from nimble_lightning.testing import FakeGPU, FakeNVML

STEPS = ["nvmlGpmQueryDeviceSupport", "nvmlGpmSampleGet"]


def meter(fake: FakeNVML) -> ActivityMeter:
    return ActivityMeter(devices_in_use(Nvml(fake), {})[0])


def test_two_looks_tell_what_happened_in_between() -> None:
    fake = FakeNVML(FakeGPU(sm_active=71.0, pcie_traffic=(4e6, 2e6)))
    looking = meter(fake)
    assert looking.look() == Activity(), "there is nothing yet to compare with"
    assert looking.look() == Activity(71.0, (4e6, 2e6))
    fake.gpus[0].sm_active = 12.0
    assert looking.look().sm_active == 12.0


def test_a_slice_is_monitored_by_itself() -> None:
    looking = meter(FakeNVML(FakeGPU(sm_active=99.0, slices=[FakeGPU(sm_active=33.0)])))
    looking.look()
    assert looking.look().sm_active == 33.0


def test_what_was_allocated_is_given_back() -> None:
    fake = FakeNVML(FakeGPU(sm_active=1.0))
    looking = meter(fake)
    looking.look()
    assert len(fake.open_samples) == 2
    looking.close()
    looking.close()
    assert fake.open_samples == []
    assert looking.look() == Activity()


def test_a_card_without_monitoring_is_never_asked_again() -> None:
    fake = FakeNVML(FakeGPU(sm_active=None))
    looking = meter(fake)
    assert looking.look() == looking.look() == Activity()
    assert fake.open_samples == []


@pytest.mark.parametrize("query", STEPS)
def test_monitoring_that_fails_is_off_for_good(query: str) -> None:
    fake = FakeNVML(FakeGPU(sm_active=50.0, fails={query}))
    looking = meter(fake)
    assert looking.look() == looking.look() == Activity()
    fake.gpus[0].fails.clear()
    assert looking.look() == looking.look() == Activity()
    assert fake.open_samples == []


def test_a_figure_that_is_no_number_is_unknown() -> None:
    looking = meter(FakeNVML(FakeGPU(sm_active=float("nan"), pcie_traffic=(4e6, 2e6))))
    looking.look()
    assert looking.look() == Activity(None, (4e6, 2e6))


def test_a_library_that_knows_no_monitoring_is_no_error() -> None:
    class Old(FakeNVML):
        def __getattr__(self, query: str):
            if "Gpm" in query:
                raise AttributeError(query)
            return super().__getattr__(query)

    assert meter(Old(FakeGPU(sm_active=50.0))).look() == Activity()
