"""A running fleet tells how it is and does as it is told: funnel, device show, press and watch, all the way down."""

from __future__ import annotations

from typing import Any

import pytest

from tests.command_line import CommandLine

RUNGS = ["packets", "luma", "encoder", "detector", "events"]


def the_ladder_is_sound(device: dict[str, Any]) -> None:
    assert [rung["name"] for rung in device["rungs"]] == RUNGS
    for rung in device["rungs"]:
        assert rung["seen"] >= 0
        assert rung["passed"] >= 0
        assert rung["cpu_seconds"] >= 0
    packets = device["rungs"][0]
    assert packets["seen"] >= packets["passed"] > 0
    assert device["cpu_seconds"] > 0
    assert sum(rung["cpu_seconds"] for rung in device["rungs"]) <= device["cpu_seconds"] * 1.05
    assert 0 < device["uptime_s"] < 3600


def test_the_funnel_of_all_devices_that_answer(fleet: CommandLine) -> None:
    shown = fleet.ok("funnel")
    assert [device["device"] for device in shown["devices"]] == ["cam-1", "cam-2"]
    assert shown["silent"] == []
    for device in shown["devices"]:
        the_ladder_is_sound(device)


def test_the_funnel_grows(fleet: CommandLine) -> None:
    def packets() -> int:
        (device,) = fleet.ok("funnel", "cam-1")["devices"]
        return device["rungs"][0]["seen"]

    before = packets()
    fleet.until(lambda: packets() > before)


def test_the_funnel_is_drawn(fleet: CommandLine) -> None:
    ran = fleet.run("funnel", "cam-2")
    assert ran.code == 0, ran.err
    for words in (*RUNGS, "cam-2", "CPU s", "of one core", "budget"):
        assert words in ran.out
    assert "█" in ran.out


def test_a_device_shows_its_state_beside_its_events(fleet: CommandLine) -> None:
    shown = fleet.ok("device", "show", "cam-1")
    assert shown["silent"] is None
    the_ladder_is_sound(shown["state"])
    assert shown["state"]["device"] == "cam-1"
    assert sum(kept["bytes"] for kept in shown["state"]["kept"]) > 0
    assert shown["newest_events"]
    drawn = fleet.run("device", "show", "cam-1")
    for words in ("ladder", "took", "budget", "recordings", "gaps", "triggers", "masks"):
        assert words in drawn.out


def test_a_press_becomes_a_manual_event_of_the_highest_priority(fleet: CommandLine) -> None:
    pressed = fleet.ok("device", "press", "cam-1", "--about", "someone shouted")
    assert pressed["device"] == "cam-1"

    def remembered() -> list[dict[str, Any]]:
        events = fleet.ok("event", "list", "--device", "cam-1", "--limit", "1000")["events"]
        return [event for event in events if event["id"] == pressed["event_id"]]

    (event,) = fleet.until(remembered)
    assert (event["trigger"], event["priority"], event["about"]) == ("manual", "urgent", "someone shouted")
    drawn = fleet.run("event", "list", "--device", "cam-1", "--limit", "1000")
    assert "about" in drawn.out
    assert "urgent" in drawn.out


def test_a_device_watches_for_sentences_until_told_otherwise(fleet: CommandLine) -> None:
    shown = fleet.ok("device", "watch", "cam-2", "a delivery van", "a dog in the yard")
    assert shown["watching"] == ["a delivery van", "a dog in the yard"]
    kept = fleet.data.rglob("watch.binpb")
    assert any(b"a delivery van" in path.read_bytes() for path in kept)
    assert fleet.ok("device", "watch", "cam-2", "--none")["watching"] == []
    assert not list(fleet.data.rglob("watch.binpb"))


@pytest.mark.parametrize("command", [("funnel",), ("device", "press"), ("device", "watch")], ids=" ".join)
def test_an_unknown_device_is_one_sentence(fleet: CommandLine, command: tuple[str, ...]) -> None:
    arguments = [*command, "cam-9", *(["a van"] if "watch" in command else [])]
    ran = fleet.run(*arguments)
    assert ran.code == 4, ran.err
    assert "cam-9" in ran.err
    assert "Traceback" not in ran.err + ran.out
