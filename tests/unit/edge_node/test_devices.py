"""What the edge knows of its devices, strict about what it does not know."""

from __future__ import annotations

import pytest

from edge_node.devices import ALIVE_S, Devices
from foveate import residency
from foveate.messages import Place, Presence

POLICY = residency.parse(
    {"rules": [{"name": "private", "scope": {"label": "private"}, "limits": {"FACTS": "SITE"}}]}, source="test"
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[Devices, Clock]:
    clock = Clock()
    return Devices(here=Place("eu-west", "north"), policy=POLICY, clock=clock), clock


def test_a_device_of_unknown_labels_is_treated_as_having_all_that_rules_mention() -> None:
    devices, _ = make()
    assert devices.origin("glasses-1").labels == ("private",)
    devices.learn("glasses-1", ())
    assert devices.origin("glasses-1").labels == ()
    devices.learn("glasses-1", ("private",))
    devices.learn("glasses-1", ())
    assert devices.origin("glasses-1").labels == ("private",)


def test_only_devices_heard_of_lately_live() -> None:
    devices, clock = make()
    devices.hear(Presence("body-1", "north", 1000.0, capturing=True))
    assert [presence.device_id for presence in devices.alive()] == ["body-1"]
    clock.now += ALIVE_S + 0.1
    assert devices.alive() == ()


def test_now_is_told_by_the_clock_of_each_device() -> None:
    devices, clock = make()
    devices.hear(Presence("fast-1", "north", 1060.0, capturing=True))
    devices.hear(Presence("right-1", "north", 999.9, capturing=True))
    assert devices.device_time("fast-1", 1000.0) == pytest.approx(1060.0)
    assert devices.device_time("right-1", 1000.0) == 1000.0
    assert devices.device_time("unheard-1", 1000.0) == 1000.0
    clock.now = 1002.0
    devices.hear(Presence("fast-1", "north", 1061.5, capturing=True))  # a late heartbeat moves it a little
    assert devices.device_time("fast-1", 1002.0) == pytest.approx(1061.9)
    devices.hear(Presence("fast-1", "north", 1002.0, capturing=True))  # its clock was set
    assert devices.device_time("fast-1", 1002.0) == 1002.0
