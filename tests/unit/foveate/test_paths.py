"""Moments, gaps, zones and colours in answers from facts, without a database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from foveate.facts import CANDIDATE, from_events
from foveate.heard import Heard
from foveate.messages import (
    Answer,
    AnswerRequest,
    Event,
    LabelScore,
    Outcome,
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
from foveate.paths import at_moment, bridged, spans_of, zone_key
from foveate.vision.boxes import Box

NOON = 1_750_075_200.0
DOOR = "Front Door"


def event(start: float, end: float, *, left: float = 0.2, score: float = 0.9, **changes: Any) -> Event:
    """One person who walks a tenth of the picture to the right each second."""
    path = tuple(
        Sighting(NOON + at, "person", score, Box(left + 0.1 * (at - start), 0.3, 0.1, 0.3)) for at in (start, end)
    )
    track = Track(1, "person", score, NOON + start, NOON + end, path, changes.pop("visits", ()))
    made = Event(
        event_id=f"e-{start}-{left}",
        revision=1,
        device_id="cam-1",
        site_id="north",
        region="eu-west",
        trigger=TriggerKind.OBJECT,
        start=NOON + start,
        end=NOON + end,
        open=False,
        score=score,
        labels=(LabelScore("person", score),),
        tracks=(track,),
    )
    return replace(made, **changes)


def ask(
    task: Task, events: list[Event], *, zones: tuple[str, ...] = (), known: Any = (DOOR,), **changes: Any
) -> Answer:
    wanted = Understanding(task, "person", ("person",), NOON, NOON + 60, False, Pick.ANY, "", zones=zones)
    request = AnswerRequest(
        question=Question("q-1", "?", ask_time=NOON + 60),
        understanding=replace(wanted, **changes),
        placement=Placement(Tier.EDGE, "north", Representation.FACTS),
        device_ids=("cam-1",),
        devices_in_scope=1,
        time_left_s=5.0,
    )
    return from_events(request, events, Heard(frozenset({"cam-1"}), frozenset({"cam-1"}), known))


def at(seconds: float) -> dict[str, Any]:
    """The span of a moment that is told to the second."""
    return {"start": NOON + seconds - 0.5, "end": NOON + seconds + 0.5}


def test_a_moment_counts_who_was_there_then_and_not_who_came_around_it() -> None:
    events = [event(0, 9.8), event(10.3, 20, left=0.7, score=0.95), event(2, 30, left=0.3)]
    answer = ask(Task.COUNT, events, **at(10))
    assert answer.value == 1
    assert answer.text == "1 at 12:00:10 UTC (person)."
    (piece,) = answer.evidence
    assert piece.event_id == "e-2-0.3"


def test_evidence_shows_each_counted_thing_where_it_was_at_that_moment() -> None:
    answer = ask(Task.COUNT, [event(0, 6), event(2, 8, left=0.1)], **at(4))
    boxes = {piece.event_id: piece.sightings[0] for piece in answer.evidence}
    assert answer.value == len(boxes) == 2
    assert {seen.time for seen in boxes.values()} == {NOON + 4}
    assert boxes["e-0-0.2"].box.left == pytest.approx(0.6)


def test_a_thing_that_was_lost_for_a_moment_was_there_all_the_same() -> None:
    before, after = event(0, 4), event(5, 8, left=0.65)
    assert ask(Task.COUNT, [before, after], **at(4.5)).value == 1
    assert ask(Task.PRESENCE, [before, after], start=NOON + 4.3, end=NOON + 4.6).value is True
    elsewhere = event(5, 8, left=0.05)
    assert ask(Task.COUNT, [before, elsewhere], **at(4.5)).value == 0
    late = event(9, 12, left=0.65)
    assert len(bridged([*spans_of(before, ("person",)), *spans_of(late, ("person",))])) == 2


def test_between_two_sightings_a_thing_has_moved_evenly() -> None:
    (span,) = spans_of(event(0, 4), ("person",))
    seen = at_moment(span, NOON + 1)
    assert seen is not None
    assert (seen.time, round(seen.box.left, 3)) == (NOON + 1, 0.3)
    early = at_moment(span, NOON - 5)
    assert early is not None
    assert early.time == NOON


def test_what_only_came_after_the_span_is_not_in_it() -> None:
    both = replace(
        event(1, 3), tracks=(*event(1, 3).tracks, replace(event(50, 58).tracks[0], track_id=2)), end=NOON + 58
    )
    answer = ask(Task.COUNT, [both], start=NOON + 40, end=NOON + 60)
    assert answer.value == 1
    assert "1 distinct tracks" in answer.text


def test_first_and_last_lie_within_what_was_asked() -> None:
    events = [event(0, 30), event(20, 58)]
    span: dict[str, Any] = {"start": NOON + 10, "end": NOON + 40}
    assert ask(Task.FIND, events, pick=Pick.FIRST, **span).value == NOON + 10
    last = ask(Task.FIND, events, pick=Pick.LAST, **span)
    assert last.value == NOON + 40
    assert last.evidence[0].sightings[0].time == NOON + 40


def test_a_track_counts_in_a_zone_while_it_visits_it() -> None:
    visits = (ZoneVisit(DOOR, NOON + 5, NOON + 8), ZoneVisit("yard", NOON + 8, NOON + 20))
    events = [event(0, 20, visits=visits), event(0, 20, left=0.5)]
    zones = ("front-door",)
    assert ask(Task.COUNT, events, zones=zones, **at(6)).value == 1
    assert ask(Task.COUNT, events, zones=zones, **at(10)).value == 0
    assert ask(Task.PRESENCE, events, zones=zones, **at(8)).value is True
    assert ask(Task.PRESENCE, events, zones=zones, **at(8.3)).value is False
    first = ask(Task.FIND, events, zones=zones, pick=Pick.FIRST)
    assert first.value == NOON + 5
    assert first.text.startswith("Person in the zone front-door first seen")
    assert ask(Task.PRESENCE, events, zones=zones, start=NOON + 9, end=NOON + 12).value is False
    assert zone_key("Front_Door") == zone_key("front-door") == zone_key(DOOR)


def test_an_unknown_zone_cannot_be_told_and_known_ones_are_named() -> None:
    answer = ask(Task.PRESENCE, [event(0, 9)], zones=("cellar",), known=(DOOR, "yard"))
    assert answer.outcome is Outcome.CANNOT_TELL
    assert answer.reason == "nothing was ever seen in a zone called 'cellar'; known are Front Door, yard"


def test_facts_do_not_know_colours() -> None:
    answer = ask(Task.PRESENCE, [event(0, 9)], colours=("red",))
    assert answer.value is True
    assert answer.confidence <= CANDIDATE
    assert "red shows in pictures only" in answer.reason
    nobody = ask(Task.PRESENCE, [], colours=("red",))
    assert nobody.value is False
    assert nobody.confidence > CANDIDATE
