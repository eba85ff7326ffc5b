"""What became scenery counts as still there, less surely, until something tells otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from foveate.facts import SURE_COUNT, from_events
from foveate.heard import SURE_ABSENCE, Heard
from foveate.messages import (
    Answer,
    AnswerRequest,
    Event,
    Pick,
    Placement,
    Question,
    Representation,
    Sighting,
    Task,
    Tier,
    Track,
    TriggerKind,
    Understanding,
    ZoneVisit,
)
from foveate.remembered import track_rows
from foveate.standing import MOST_STANDING_S, STANDS, is_scenery, still_there
from foveate.vision.boxes import Box

NOON = 1_750_075_200.0  # 12:00:00 UTC
BOX = Box(0.25, 0.25, 0.25, 0.25)
ABOUT = "scenery: has not moved for 120 s"


def event(start: float, end: float, *, track: int = 1, label: str = "car", box: Box = BOX, **changes: Any) -> Event:
    start, end = NOON + start, NOON + end
    seen = (Sighting(start, label, 0.8, box), Sighting(end, label, 0.8, box))
    visits = (ZoneVisit("gate", start, start + 1), ZoneVisit("dock", start + 2, end))
    made = Event(
        event_id=f"{track}-{start}",
        revision=3,
        device_id="cam-1",
        site_id="north",
        region="eu-west",
        trigger=TriggerKind.OBJECT,
        start=start,
        end=end,
        open=False,
        score=0.8,
        tracks=(Track(track, label, 0.8, start, end, seen, visits),),
    )
    return replace(made, **changes)


PARKED = event(0, 130, about=ABOUT)


def ask(task: Task, events: list[Event], still: dict[str, float], **changes: Any) -> Answer:
    wanted = Understanding(task, "car", ("car",), NOON + 600, NOON + 660, False, Pick.LAST, "")
    request = AnswerRequest(
        question=Question("q-1", "?", ask_time=NOON + 660),
        understanding=replace(wanted, **changes),
        placement=Placement(Tier.EDGE, "north", Representation.FACTS),
        device_ids=("cam-1",),
        devices_in_scope=1,
        time_left_s=5.0,
    )
    told = frozenset({"cam-1"})
    return from_events(request, events, Heard(told, told, ("gate", "dock"), still))


def alone(task: Task, **changes: Any) -> Answer:
    return ask(task, [PARKED], still_there([(PARKED, None)], []), **changes)


def test_only_what_ended_by_standing_still_is_scenery() -> None:
    gone = replace(PARKED, about="gone from where it stood")
    told = [PARKED, replace(PARKED, about=""), replace(PARKED, open=True), gone]
    assert [is_scenery(one) for one in told] == [True, False, False, False]
    assert [track_rows(one)[0]["scenery"] for one in told] == [True, False, False, False]


def test_what_stands_still_is_in_view_but_less_surely_than_what_is_followed() -> None:
    answer = alone(Task.PRESENCE)
    assert answer.value is True
    assert 0.5 < answer.confidence <= STANDS
    assert "stood still since 12:00:10 UTC" in answer.text
    assert "last seen at 12:02:10 UTC" in answer.reason
    (piece,) = answer.evidence
    assert [(seen.time, seen.box) for seen in piece.sightings] == [(NOON + 130, BOX)]
    followed = event(620, 640, track=2)
    sure = ask(Task.PRESENCE, [PARKED, followed], still_there([(PARKED, None)], []))
    assert sure.confidence > 0.9
    assert "stood still" not in sure.text


def test_what_stands_still_is_counted_with_what_is_followed() -> None:
    followed = event(620, 640, track=2, box=Box(0.7, 0.7, 0.2, 0.2))
    answer = ask(Task.COUNT, [PARKED, followed], still_there([(PARKED, None)], [followed]))
    assert answer.value == 2
    assert answer.confidence <= SURE_COUNT * STANDS
    assert "1 of them has stood still since 12:00:10 UTC." in answer.text
    now = alone(Task.COUNT, now=True)
    assert (now.value, now.confidence < STANDS) == (1, True)


@pytest.mark.parametrize("span", [(NOON + 100, NOON + 125), (NOON + 60, NOON + 60.5)])
def test_while_it_was_followed_nothing_is_doubted(span: tuple[float, float]) -> None:
    answer = alone(Task.COUNT, start=span[0], end=span[1])
    assert answer.value == 1
    assert answer.confidence > STANDS
    assert "stood still" not in answer.text


def test_the_last_time_is_now_and_less_sure() -> None:
    answer = alone(Task.FIND)
    assert answer.value == NOON + 660
    assert answer.confidence <= STANDS
    assert "stood still since 12:00:10 UTC" in answer.text


def test_only_the_visit_that_went_on_goes_on() -> None:
    assert alone(Task.COUNT, zones=("dock",)).value == 1
    assert alone(Task.COUNT, zones=("gate",)).value == 0


def test_an_absence_is_sure_again_once_it_was_told_of() -> None:
    left = still_there([(PARKED, NOON + 300)], [])
    answer = ask(Task.PRESENCE, [PARKED], left)
    assert (answer.value, answer.confidence) == (False, SURE_ABSENCE)
    assert ask(Task.PRESENCE, [PARKED], left, start=NOON + 250, end=NOON + 290).value is True


def test_what_ends_it() -> None:
    found = [(PARKED, None)]

    def until(*later: Event) -> float:
        return still_there(found, later)[PARKED.event_id] - NOON

    assert until() == 130 + MOST_STANDING_S
    assert still_there([(PARKED, NOON + 300)], [])[PARKED.event_id] == NOON + 300
    # A device that started anew finds the same car under another number.
    assert until(event(400, 500, track=9)) == 400
    elsewhere = event(200, 300, track=9, box=Box(0.7, 0.7, 0.2, 0.2))
    others = [event(200, 300, track=9, label="person"), event(200, 300, track=9, device_id="cam-2")]
    before = event(50, 60, track=9)
    assert until(PARKED, elsewhere, before, *others) == 130 + MOST_STANDING_S
