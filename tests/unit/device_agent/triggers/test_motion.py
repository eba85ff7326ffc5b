"""Motion that no moving object explains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from device_agent.rules import Pace, TriggerRules, Zone
from device_agent.triggers.all import Triggers
from device_agent.view import Change, Followed
from foveate.messages import Embedding, Event, Priority, TriggerKind
from foveate.vision.boxes import Box
from tests.unit.device_agent.fakes import START
from tests.unit.device_agent.triggers.made import OFF, followed, moving, opened, triggers, view

ONLY = replace(OFF, motion=TriggerRules().motion)
HAND = Box(0.7, 0.2, 0.2, 0.3)


def _run(trigger: Triggers, moves: list[bool], *, step: float, change: Change | None = None) -> list[Event]:
    told: list[Event] = []
    for number, moved in enumerate(moves):
        told += trigger.see(view(number * step, change=(change or moving()) if moved else Change(0.5)))
    return told


def test_it_opens_after_a_second_and_short_pauses_are_drawn_together() -> None:
    moves = [tick < 6 or 8 <= tick < 20 for tick in range(60)]
    told = _run(triggers(ONLY), moves, step=0.2)
    assert {event.event_id for event in told} == {"event-1"}
    first, last = told[0], told[-1]
    assert (first.trigger, first.start, first.priority) == (TriggerKind.MOTION, START, Priority.LOW)
    assert first.embedding == Embedding("m@1", (0.0,))
    assert round(last.end - START, 1) == 3.8
    assert not last.open
    assert 0.0 < last.score < 1.0


@pytest.mark.parametrize("level", [9.0, 500.0])
def test_one_noisy_view_never_fires(level: float) -> None:
    at_one_a_second = [number % 7 == 3 for number in range(300)]
    assert _run(triggers(ONLY), at_one_a_second, step=1.0, change=moving(level=level)) == []


def test_a_car_that_passes_in_four_views_at_one_a_second_is_one_event() -> None:
    told = _run(triggers(ONLY), [5 <= number < 9 for number in range(30)], step=1.0)
    (first,) = opened(told)
    assert first.start == START + 5
    assert (told[-1].open, told[-1].end) == (False, START + 8)


def test_moving_views_far_apart_are_two_noises() -> None:
    trigger = triggers(ONLY)
    assert [trigger.see(view(30.0 * number, change=moving())) for number in range(20)] == [()] * 20


@pytest.mark.parametrize(
    "change", [Change(90.0, light=True), Change(90.0, (Box(0, 0, 1, 1),), light=True), Change(9.0, roving=True)]
)
def test_light_and_a_roving_camera_make_no_motion(change: Change) -> None:
    assert _run(triggers(ONLY), [True] * 30, step=0.5, change=change) == []


def test_a_shift_of_light_does_not_cut_a_motion_in_two() -> None:
    trigger = triggers(ONLY)
    told: list[Event] = []
    for tick in range(10):
        shown = moving() if tick % 2 == 0 else Change(40.0, light=True)
        told += trigger.see(view(tick * 0.4, change=shown))
    assert len(opened(told)) == 1


def _motions(*items: Followed, region: Box = HAND) -> list[Event]:
    trigger = triggers(replace(ONLY, object=TriggerRules().object))
    told = [event for tick in range(8) for event in trigger.see(view(tick * 0.5, *items, change=moving(region)))]
    return [event for event in told if event.trigger is TriggerKind.MOTION]


def test_a_parked_object_does_not_explain_a_hand_nor_does_a_mover_elsewhere() -> None:
    assert _motions(followed(1, 0, 0, label="bottle", moved=False, box=HAND))
    assert _motions(followed(1, 0, 0, label="person", box=Box(0.0, 0.5, 0.1, 0.4)))


def test_a_mover_explains_its_own_motion_and_its_shadow() -> None:
    assert not _motions(followed(1, 0, 0, box=HAND))
    assert not _motions(followed(1, 0, 0, box=HAND), region=Box(0.68, 0.25, 0.26, 0.3))


def test_objects_explain_nothing_when_they_have_no_events() -> None:
    trigger = triggers(ONLY)
    told = [e for t in range(8) for e in trigger.see(view(t * 0.5, followed(1, 0, 0, box=HAND), change=moving(HAND)))]
    assert len(opened(told)) == 1


def test_it_names_the_zones_it_touched() -> None:
    door = Zone("door", ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))
    trigger = triggers(ONLY, zones=(door,))
    told = [e for t in range(8) for e in trigger.see(view(t * 0.5, change=moving(Box(0.1, 0.1, 0.2, 0.2))))]
    assert told[0].zones == ("door",)


def test_the_rate_holds_back_a_flickering_lamp() -> None:
    rules = replace(ONLY, motion=replace(ONLY.motion, pace=Pace(merge_s=0.0, most_per_minute=3)))
    trigger = triggers(rules)
    told = _run(trigger, [tick % 5 < 3 for tick in range(59)], step=1.0)
    assert len(opened(told)) == 3
    assert trigger.held_back > 5
