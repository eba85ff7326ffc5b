"""Events out of views: each opens once, grows, and closes once."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from device_agent.sender import Sender
from device_agent.trigger import Trigger
from device_agent.view import Change, Followed, View
from foveate.messages import Embedding, Event, TriggerKind
from foveate.vision.boxes import Box
from tests.unit.device_agent.fakes import START, Ids, followed

SENDER = Sender("body-1", "north", "eu-west", ("police",))


def _trigger() -> Trigger:
    return Trigger(SENDER, new_id=Ids(), meaning=lambda key: Embedding("m@1", (float(key or 0),)))


def _view(seconds: float, *items: Followed, moving: bool = False) -> View:
    change = Change(9.0, regions=(Box(0.0, 0.0, 1.0, 1.0),) if moving else ())
    return View(START + seconds, seconds, change, items)


def _track(key: int, start: float, end: float, label: str = "person") -> Followed:
    return followed(key, label, start=START + start, end=START + end)


def test_an_object_opens_an_event_at_its_first_sighting() -> None:
    (event,) = _trigger().update(_view(10.4, _track(7, 10.0, 10.4)))
    assert (event.start, event.end, event.open, event.revision) == (START + 10.0, START + 10.4, True, 1)
    assert (event.device_id, event.site_id, event.region) == ("body-1", "north", "eu-west")
    assert event.device_labels == ("police",)
    assert event.trigger is TriggerKind.OBJECT
    assert event.labels[0].label == "person"
    assert [track.track_id for track in event.tracks] == [7]
    assert event.embedding == Embedding("m@1", (7.0,))
    assert event.media_offset == 10.0


def test_it_is_told_again_at_most_every_two_seconds_and_when_it_ends() -> None:
    trigger = _trigger()
    told: list[Event] = []
    for tick in range(26):
        told += trigger.update(_view(tick * 0.2, _track(1, 0.0, tick * 0.2)))
    told += trigger.update(_view(6.6))
    assert [event.revision for event in told] == [1, 2, 3, 4]
    assert [round(event.end - START, 1) for event in told] == [0.0, 2.0, 4.0, 5.0]
    assert [event.open for event in told] == [True, True, True, False]
    assert trigger.open_events == ()


def test_a_still_object_is_not_told_again_until_it_is_seen_again() -> None:
    trigger = _trigger()
    trigger.update(_view(0.0, _track(1, 0.0, 0.0)))
    assert trigger.update(_view(3.0, _track(1, 0.0, 0.0))) == ()
    assert len(trigger.update(_view(3.2, _track(1, 0.0, 3.2)))) == 1


def test_motion_matters_after_a_second_and_short_pauses_are_merged() -> None:
    trigger = _trigger()
    told: list[Event] = []
    moving = [tick < 6 or 8 <= tick < 20 for tick in range(40)]
    for tick, moves in enumerate(moving):
        told += trigger.update(_view(tick * 0.2, moving=moves))
    assert {event.event_id for event in told} == {"event-1"}
    first, last = told[0], told[-1]
    assert first.trigger is TriggerKind.MOTION
    assert first.start == START
    assert round(last.end - START, 1) == 3.8
    assert not last.open


def test_a_short_motion_and_an_explained_one_are_no_events() -> None:
    trigger = _trigger()
    for tick in range(30):
        assert trigger.update(_view(tick * 0.2, moving=tick < 4)) == ()
    told = [event for tick in range(20) for event in trigger.update(_view(9 + tick, _track(1, 9, 9), moving=True))]
    assert {event.trigger for event in told} == {TriggerKind.OBJECT}


def test_an_object_ends_a_motion_event() -> None:
    trigger = _trigger()
    for tick in range(10):
        trigger.update(_view(tick * 0.2, moving=True))
    told = trigger.update(_view(2.0, _track(1, 1.8, 2.0), moving=True))
    assert {(event.trigger, event.open) for event in told} == {(TriggerKind.OBJECT, True), (TriggerKind.MOTION, False)}


@given(st.lists(st.tuples(st.floats(0.05, 1.5), st.booleans(), st.sets(st.integers(1, 4)), st.booleans()), max_size=60))
def test_every_event_closes_once_and_revisions_rise(steps: list[tuple[float, bool, set[int], bool]]) -> None:
    trigger, told, now = _trigger(), [], 0.0
    seen: dict[int, tuple[float, float]] = {}
    for pause, moving, present, sighted in steps:
        now += pause
        seen = {key: span for key, span in seen.items() if key in present}
        for key in present:
            first, last = seen.get(key, (now, now))
            seen[key] = (first, now if sighted else last)
        told += trigger.update(_view(now, *(_track(key, *span) for key, span in seen.items()), moving=moving))
        still_open = {event.event_id for event in told if event.open} - {e.event_id for e in told if not e.open}
        assert {event.event_id for event in trigger.open_events} == still_open
    told += trigger.finish(START + now)
    revisions: dict[str, list[Event]] = defaultdict(list)
    for event in told:
        revisions[event.event_id].append(event)
    for story in revisions.values():
        assert [event.revision for event in story] == list(range(1, len(story) + 1))
        assert [event.open for event in story] == [True] * (len(story) - 1) + [False]
        assert all(event.start <= event.end for event in story)
        ends = [event.end for event in story]
        assert ends == sorted(ends)
