"""Objects that enter, leave, stand still and stand in zones."""

from __future__ import annotations

from dataclasses import replace

from device_agent.rules import ObjectRules, Pace, TriggerRules, Zone
from device_agent.view import Change
from foveate.messages import Embedding, Event, TriggerKind
from foveate.vision.boxes import Box
from tests.unit.device_agent.fakes import START
from tests.unit.device_agent.triggers.made import OFF, followed, opened, stories, triggers, view

LEFT = Zone("left", ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))
FLOOR = Zone("floor", ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0)))
HERE, THERE = Box(0.1, 0.3, 0.2, 0.4), Box(0.6, 0.3, 0.2, 0.4)


def _only(**changes: object) -> TriggerRules:
    return replace(OFF, object=replace(ObjectRules(), **changes))  # type: ignore[arg-type]


def test_an_object_opens_an_event_at_its_first_sighting() -> None:
    (event,) = triggers(_only()).see(view(10.4, followed(7, 10.0, 10.4)))
    assert (event.start, event.end, event.open, event.revision) == (START + 10.0, START + 10.4, True, 1)
    assert event.trigger is TriggerKind.OBJECT
    assert event.labels[0].label == "person"
    assert [track.track_id for track in event.tracks] == [7]
    assert event.embedding == Embedding("m@1", (7.0,))
    assert event.media_offset == 10.0


def test_it_is_told_again_at_most_every_two_seconds_and_ends_with_its_last_sighting() -> None:
    trigger = triggers(_only())
    told: list[Event] = []
    for tick in range(26):
        told += trigger.see(view(tick * 0.2, followed(1, 0.0, tick * 0.2)))
    for tick in range(10):
        told += trigger.see(view(6.6 + tick))
    assert [event.revision for event in told] == [1, 2, 3, 4]
    assert [round(event.end - START, 1) for event in told] == [0.0, 2.0, 4.0, 5.0]
    assert [event.open for event in told] == [True, True, True, False]
    assert trigger.open_events == ()


def test_a_still_object_is_not_told_again_until_it_is_seen_again() -> None:
    trigger = triggers(_only())
    trigger.see(view(0.0, followed(1, 0.0, 0.0)))
    assert trigger.see(view(3.0, followed(1, 0.0, 0.0))) == ()
    assert len(trigger.see(view(3.2, followed(1, 0.0, 3.2)))) == 1


def test_what_never_moved_makes_no_event_unless_it_was_there_when_the_scene_began() -> None:
    late = triggers(_only())
    late.see(view(0.0, start=True))
    for second in range(20, 60):
        assert late.see(view(second, followed(1, 20, second, moved=False))) == ()
    early = triggers(_only())
    told = [e for t in range(20) for e in early.see(view(t * 0.5, followed(1, 0, t * 0.5, moved=False), start=t < 3))]
    (first,) = opened(told)
    assert first.start == START
    assert first.end >= START + 0.95


def test_a_phantom_of_the_first_picture_is_no_event() -> None:
    trigger = triggers(_only())
    assert trigger.see(view(0.0, followed(1, 0.0, 0.0, moved=False), start=True)) == ()
    assert [trigger.see(view(second)) for second in range(1, 20)] == [()] * 19


def test_what_stands_still_becomes_scenery_and_has_a_new_event_when_it_drives_off() -> None:
    trigger = triggers(_only(static_s=10.0))
    told: list[Event] = []
    for second in range(100):
        told += trigger.see(view(second, followed(1, 0, second, label="car", box=HERE)))
    for second in range(100, 105):
        told += trigger.see(view(second, followed(1, 0, second, label="car", box=THERE)))
    told += trigger.see(view(130))
    parked, drove = stories(told).values()
    assert (parked[-1].end, parked[-1].open) == (START + 10, False)
    assert "scenery" in parked[-1].about
    assert (drove[0].start, drove[-1].end) == (START + 100, START + 104)
    assert drove[0].media_offset == 100
    assert drove[0].tracks[0].start == START + 100


def test_scenery_that_the_detector_loses_for_a_while_stays_scenery() -> None:
    trigger = triggers(_only(static_s=10.0))
    told: list[Event] = []
    for second in range(20):
        told += trigger.see(view(second, followed(1, 0, second, label="car", box=HERE)))
    for second in range(20, 40):
        told += trigger.see(view(second))
    for second in range(40, 60):
        told += trigger.see(view(second, followed(2, 40, second, label="truck", box=HERE)))
    assert len(opened(told)) == 1


def test_scenery_that_is_taken_away_is_an_event_until_it_is_missed() -> None:
    trigger = triggers(_only(static_s=10.0))
    told: list[Event] = []
    for second in range(60):
        told += trigger.see(view(second, followed(1, 0, second, label="bottle", box=HERE)))
    told += trigger.see(view(61, change=Change(0.0, resting=(HERE,))))
    stood, taken = stories(told).values()
    assert "scenery" in stood[-1].about
    assert (taken[-1].start, taken[-1].end, taken[-1].open) == (START + 59, START + 61, False)
    assert "gone" in taken[-1].about
    assert trigger.see(view(62, followed(2, 62, 62, label="bottle", box=HERE))) != (), "what comes anew is no scenery"


def test_a_passer_by_who_hides_half_of_a_parked_car_does_not_move_it() -> None:
    trigger = triggers(_only(static_s=10.0))
    half = Box(HERE.left, HERE.top, HERE.width * 0.4, HERE.height)
    told = []
    for second in range(60):
        told += trigger.see(view(second, followed(1, 0, second, box=half if second % 20 == 19 else HERE)))
    assert len(opened(told)) == 1


def test_the_same_name_near_the_same_place_goes_on_within_the_merge_gap() -> None:
    trigger = triggers(_only())
    told = list(trigger.see(view(1, followed(1, 0, 1, box=HERE))))
    told += trigger.see(view(2))
    told += trigger.see(view(3, followed(2, 3, 3, box=HERE)))
    told += trigger.see(view(5, followed(2, 3, 5, box=HERE)))
    told += trigger.see(view(20))
    (story,) = stories(told).values()
    (track,) = story[-1].tracks
    assert (story[-1].end, track.track_id, track.start, track.end) == (START + 5, 1, START, START + 5)
    assert [seen.time - START for seen in track.sightings] == [0, 1, 3, 5]
    assert story[-1].embedding == Embedding("m@1", (2.0,))


def test_another_name_another_place_or_the_pictures_edge_is_somebody_else() -> None:
    at_edge = Box(0.0, 0.3, 0.2, 0.4)
    for old, new, label in ((HERE, THERE, "person"), (HERE, HERE, "dog"), (at_edge, at_edge, "person")):
        trigger = triggers(_only())
        told = [*trigger.see(view(1, followed(1, 0, 1, box=old)))]
        told += trigger.see(view(2))
        told += trigger.see(view(3, followed(2, 3, 3, box=new, label=label)))
        assert len(opened(told)) == 2


def test_the_same_track_that_comes_back_goes_on_or_begins_where_it_came_back() -> None:
    trigger = triggers(_only())
    told = [*trigger.see(view(1, followed(1, 0, 1))), *trigger.see(view(2)), *trigger.see(view(3, followed(1, 0, 3)))]
    assert len(opened(told)) == 1
    told += trigger.see(view(20))
    told += trigger.see(view(30, followed(1, 0, 30)))
    assert [event.start - START for event in opened(told)] == [0, 30]


def test_labels_that_are_not_asked_for_make_no_events() -> None:
    told = triggers(_only(labels=("dog",))).see(view(1, followed(1, 0, 1), followed(2, 0, 1, label="dog", box=THERE)))
    assert [event.labels[0].label for event in told] == ["dog"]


def test_events_name_the_zones_they_touched() -> None:
    trigger = triggers(_only(), zones=(LEFT, FLOOR))
    told = [*trigger.see(view(0, followed(1, 0, 0, box=THERE))), *trigger.see(view(2, followed(1, 0, 2, box=HERE)))]
    assert [event.zones for event in told] == [("floor",), ("floor", "left")]


def test_only_the_zones_that_are_asked_for_make_events_and_leaving_them_ends_these() -> None:
    trigger = triggers(_only(zones=("left",), pace=Pace(merge_s=2.0)), zones=(LEFT, FLOOR))
    told: list[Event] = []
    places = [THERE] * 10 + [HERE] * 5 + [THERE] * 10 + [HERE] * 3
    for second, box in enumerate(places):
        told += trigger.see(view(second, followed(1, 0, second, box=box)))
    told += trigger.finish(START + 40)
    spans = [(story[-1].start - START, story[-1].end - START) for story in stories(told).values()]
    assert spans == [(10, 14), (25, 27)]


def test_a_track_tells_when_it_stood_in_each_zone() -> None:
    trigger = triggers(_only(), zones=(LEFT, FLOOR))
    told: list[Event] = []
    for second, box in enumerate([HERE] * 4 + [THERE] * 3 + [HERE] * 2):
        told += trigger.see(view(second, followed(1, 0, second, box=box)))
    told += trigger.finish(START + 9)
    visits = [(v.zone, v.start - START, v.end - START) for v in told[-1].tracks[0].zone_visits]
    assert visits == [("left", 0, 3), ("floor", 0, 8), ("left", 7, 8)]


def test_whoever_stands_still_in_a_zone_stays_in_it_while_nobody_looks() -> None:
    trigger = triggers(_only(), zones=(LEFT,))
    trigger.see(view(0, followed(1, 0, 0, box=HERE)))
    seen = followed(1, 0, 1, box=HERE)
    standing = replace(seen, track=replace(seen.track, end=START + 6))
    (event,) = trigger.see(view(6, standing))
    assert [(v.zone, v.start - START, v.end - START) for v in event.tracks[0].zone_visits] == [("left", 0, 6)]


def test_one_sighting_in_a_zone_is_no_visit() -> None:
    trigger = triggers(_only(), zones=(LEFT,))
    told: list[Event] = []
    for second, box in enumerate([THERE, THERE, HERE, THERE, HERE, HERE]):
        told += trigger.see(view(second, followed(1, 0, second, box=box)))
    told += trigger.finish(START + 6)
    assert [(v.start - START, v.end - START) for v in told[-1].tracks[0].zone_visits] == [(4, 5)]


def test_of_many_visits_the_latest_are_kept() -> None:
    trigger = triggers(_only(), zones=(LEFT,))
    told: list[Event] = []
    for second in range(160):
        told += trigger.see(view(second, followed(1, 0, second, box=THERE if second % 4 > 1 else HERE)))
    told += trigger.finish(START + 160)
    starts = [visit.start - START for visit in told[-1].tracks[0].zone_visits]
    assert len(starts) == 32
    assert starts[-1] == 156
    assert starts == sorted(starts)


def test_another_scene_reports_what_stands_there() -> None:
    trigger = triggers(_only())
    told = [e for t in range(5) for e in trigger.see(view(t, followed(1, 0, t, moved=False), start=t < 2))]
    told += [e for t in range(60, 65) for e in trigger.see(view(t, followed(2, 60, t, moved=False), start=t < 62))]
    assert len(opened(told)) == 2
