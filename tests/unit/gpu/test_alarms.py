"""What is wrong with a GPU is said once, and again only after it had passed."""

from __future__ import annotations

import pytest

from nimble_lightning.gpu.alarms import Alarm, Alarms

FINE = {
    "index": 0,
    "utilization": 90.0,
    "memory_used": 10,
    "memory_total": 100,
    "temperature": 60.0,
    "power": 300.0,
    "throttle": [],
    "ecc_errors": 0,
    "remap_pending": False,
}


class Story:
    """A GPU over time, a second a reading."""

    def __init__(self) -> None:
        self.alarms = Alarms()
        self.now = 0.0

    def tell(self, seconds: int = 1, *, training: bool = True, **facts: object) -> list[str]:
        said: list[Alarm] = []
        for _ in range(seconds):
            said += self.alarms.look([{**FINE, **facts}], self.now, training=training)
            self.now += 1
        return [alarm.name for alarm in said]


@pytest.fixture
def story() -> Story:
    return Story()


BAD = [
    ({"throttle": ["hardware_slowdown"]}, "slowdown"),
    ({"throttle": ["power_brake", "hardware_slowdown"]}, "slowdown"),
    ({"throttle": ["hardware_thermal", "hardware_slowdown"]}, "heat"),
    ({"throttle": ["software_thermal"]}, "heat"),
    ({"memory_used": 96}, "memory"),
]


@pytest.mark.parametrize(("facts", "name"), BAD)
def test_what_lasts_is_said_once(story: Story, facts: dict[str, object], name: str) -> None:
    assert story.tell(5) == []
    assert story.tell(3600, **facts) == [name]


@pytest.mark.parametrize(("facts", "name"), BAD)
def test_what_comes_and_goes_every_second_is_said_once(
    story: Story, facts: dict[str, object], name: str
) -> None:
    assert [said for _ in range(300) for said in story.tell(**facts) + story.tell()] == [name]


@pytest.mark.parametrize(("facts", "name"), BAD)
def test_what_comes_back_after_a_quiet_minute_is_said_again(
    story: Story, facts: dict[str, object], name: str
) -> None:
    assert story.tell(**facts) == [name]
    assert story.tell(61) == []
    assert story.tell(**facts) == [name]


@pytest.mark.parametrize("reason", ["power_cap", "application_clocks", "sync_boost"])
def test_what_was_asked_for_is_no_alarm(story: Story, reason: str) -> None:
    assert story.tell(100, throttle=[reason]) == []


def test_new_memory_errors_are_said_but_not_those_from_before(story: Story) -> None:
    assert story.tell(10, ecc_errors=7) == []
    assert story.tell(100, ecc_errors=8) == ["ecc"]
    assert story.tell(ecc_errors=9) == ["ecc"]


def test_a_remap_that_becomes_due_is_said(story: Story) -> None:
    assert story.tell(10) == []
    assert story.tell(100, remap_pending=True) == ["ecc"]
    assert Story().tell(10, remap_pending=True) == [], "from the start it is a warning at the start"


def test_a_minute_of_waiting_while_training_is_the_loaders_fault(story: Story) -> None:
    assert story.tell(60, utilization=0.0) == []
    (alarm,) = story.alarms.look([{**FINE, "utilization": 0.0}], story.now, training=True)
    assert alarm.name == "idle"
    assert "GPU 0 has been idle for 60 s while training: the loader is the bottleneck" in alarm.text


def test_waiting_counts_only_while_training_and_only_in_one_go(story: Story) -> None:
    assert story.tell(600, utilization=0.0, training=False) == []
    assert story.tell(50, utilization=0.0) == []
    assert story.tell(1, utilization=0.0, training=False) == []
    assert story.tell(50, utilization=0.0) == []
    assert story.tell(1, utilization=80.0) == []
    assert story.tell(50, utilization=0.0) == []


def test_a_device_that_stops_answering_is_lost(story: Story) -> None:
    silent = dict.fromkeys(FINE.keys() - {"index"})
    assert story.tell(2) == []
    assert story.tell(100, **silent) == ["lost"]


def test_what_was_never_known_raises_no_alarm(story: Story) -> None:
    assert story.tell(200, **dict.fromkeys(FINE.keys() - {"index"})) == []


def test_each_device_has_alarms_of_its_own() -> None:
    hot = [{**FINE, "index": index, "throttle": ["hardware_thermal"]} for index in (0, 3)]
    alarms = Alarms()
    assert [(a.name, a.device) for a in alarms.look(hot, 0.0, training=True)] == [("heat", 0), ("heat", 3)]
    assert alarms.look(hot, 1.0, training=True) == []


def test_a_text_names_the_device_and_the_figures(story: Story) -> None:
    full = {**FINE, "memory_used": 78e9, "memory_total": 80e9}
    hot = {**FINE, "index": 1, "throttle": ["hardware_thermal"], "temperature": 91.0}
    texts = [alarm.text for alarm in story.alarms.look([full, hot], 0.0, training=True)]
    assert texts[0] == "GPU 0 is full: 78.0 of 80.0 GB used"
    assert texts[1].startswith("GPU 1 is slowed down by heat at 91 °C")
