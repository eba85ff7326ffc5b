"""Following objects: what is confirmed, what is lost, and what it is called."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.track import Observation, Rules, Tracker, observe
from foveate.messages import LabelScore
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection, Picture
from tests.unit.device_agent.fakes import detection


def _see(tracker: Tracker, time: float, *found: object) -> None:
    tracker.update(time, observe(found))  # type: ignore[arg-type]


def test_two_sightings_within_a_second_confirm() -> None:
    tracker = Tracker()
    _see(tracker, 0.0, detection("person", 0.6))
    assert tracker.followed == ()
    assert tracker.curious
    _see(tracker, 0.2, detection("person", 0.6))
    (item,) = tracker.followed
    assert (item.track.label, item.track.start, item.track.end) == ("person", 0.0, 0.2)
    assert item.track.score == pytest.approx(0.6)


def test_one_flash_is_no_track() -> None:
    tracker = Tracker()
    _see(tracker, 0.0, detection("person", 0.9))
    _see(tracker, 0.6)
    _see(tracker, 1.2)
    assert tracker.tentative == set()
    _see(tracker, 1.4, detection("person", 0.9))
    assert tracker.followed == ()


def test_what_flickers_is_settled_within_a_second_or_given_up() -> None:
    tracker = Tracker()
    _see(tracker, 0.0, detection("person", 0.6))
    for tick in range(1, 10):
        _see(tracker, tick * 0.2, detection("person", 0.40))
    assert tracker.followed == ()
    assert not tracker.curious


@pytest.mark.parametrize("apart", [1.0, 1.2, 60.0])
def test_two_looks_in_a_row_confirm_however_far_apart(apart: float) -> None:
    tracker = Tracker()
    _see(tracker, 0.0, detection("car", 0.6))
    _see(tracker, apart, detection("car", 0.6))
    assert [item.track.start for item in tracker.followed] == [0.0]


def test_a_track_survives_a_short_absence_and_no_longer_one() -> None:
    tracker = Tracker()
    for time in (0.0, 0.2, 1.6):
        _see(tracker, time, detection("person", 0.6))
    assert [item.track.end for item in tracker.followed] == [1.6]
    for time in (1.8, 2.4, 3.2):
        _see(tracker, time)
    assert [item.track.end for item in tracker.followed] == [1.6]
    _see(tracker, 3.4)
    assert tracker.followed == ()


def test_time_without_looks_ends_nothing() -> None:
    tracker = Tracker()
    for time in (0.0, 0.2):
        _see(tracker, time, detection("car", 0.6))
    tracker.age(3600.0)
    assert len(tracker.followed) == 1
    _see(tracker, 3600.0)
    assert tracker.curious
    assert len(tracker.followed) == 1
    _see(tracker, 3601.0)
    assert len(tracker.followed) == 1
    _see(tracker, 3601.6)
    assert tracker.followed == ()
    assert not tracker.curious


def test_a_parked_car_keeps_its_id_at_a_look_a_minute() -> None:
    tracker = Tracker()
    for look in range(60):
        dance = 0.01 * (look % 3)
        _see(tracker, look * 60.0, detection("car", (0.6, 0.6, 0.38)[look % 3], left=0.4 + dance))
    (item,) = tracker.followed
    assert (item.track.track_id, item.track.start, item.track.end) == (1, 0.0, 59 * 60.0)


def test_another_car_a_minute_later_elsewhere_is_another_car() -> None:
    tracker = Tracker()
    for time in (0.0, 1.0):
        _see(tracker, time, detection("car", 0.6, left=0.1))
    _see(tracker, 61.0, detection("car", 0.6, left=0.35))
    _see(tracker, 62.0, detection("car", 0.6, left=0.35))
    assert {item.track.track_id for item in tracker.followed} == {1, 2}


@pytest.mark.parametrize("fps", [1, 2, 5, 10, 30])
def test_a_person_who_walks_keeps_the_id_at_any_rate(fps: int) -> None:
    """Six seconds across the picture and back, at up to 1.3 times its own size in a second."""
    tracker = Tracker()
    ids = set()
    for tick in range(12 * fps):
        time = tick / fps
        left = 0.35 - 0.25 * math.cos(math.pi * time / 6)
        ids |= set(tracker.update(time, observe([detection("person", 0.7, left=left, top=0.3, size=0.1)])))
    assert ids == {1}
    (item,) = tracker.followed
    assert item.moved


@pytest.mark.parametrize("fps", [2, 5, 10, 30])
def test_who_stops_at_once_and_turns_on_the_heel_is_the_same(fps: int) -> None:
    tracker = Tracker()
    ids = set()
    for tick in range(9 * fps):
        time = tick / fps
        left = 0.1 + 0.13 * min(time, 3) - 0.13 * max(0.0, time - 6)
        ids |= set(tracker.update(time, observe([detection("person", 0.7, left=left, top=0.3, size=0.1)])))
    assert ids == {1}


@pytest.mark.parametrize("fps", [1, 5, 10])
def test_two_people_who_cross_keep_their_ids(fps: int) -> None:
    """They walk through each other, and the one behind is not seen for half a second."""
    tracker = Tracker()
    paths: dict[int, list[float]] = {}
    for tick in range(10 * fps + 1):
        time = tick / fps
        lefts = [0.1 + 0.07 * time] + ([] if abs(time - 5) < 0.25 else [0.8 - 0.07 * time])
        things = observe([detection("person", 0.8, left=left, top=0.3, size=0.1) for left in lefts])
        for track_id, seen in tracker.update(time, things).items():
            paths.setdefault(track_id, []).append(seen.box.left)
    assert len(paths) == 2
    assert all(one < other for one, other in itertools.pairwise(paths[1]))
    assert all(one > other for one, other in itertools.pairwise(paths[2]))


def _painted(*people: tuple[float, tuple[int, int, int]]) -> Picture:
    image = np.full((120, 160, 3), 90, np.uint8)
    for left, colour in people:
        image[48:72, round(left * 160) : round((left + 0.1) * 160)] = colour
    return image


def test_a_lost_person_is_taken_up_again_by_looks() -> None:
    red, tracker = (200, 20, 20), Tracker()
    for tick in range(5):
        things = observe([detection("person", 0.7, left=0.2, top=0.4, size=0.2)])
        tracker.update(tick * 0.2, things, image=_painted((0.2, red), (0.3, red)))
    for tick in range(5, 14):
        tracker.update(tick * 0.2, (), image=_painted())
    assert tracker.followed == ()
    assert tracker.tentative == {1}
    things = observe([detection("person", 0.7, left=0.3, top=0.4, size=0.2)])
    assert set(tracker.update(2.8, things, image=_painted((0.3, red), (0.4, red)))) == {1}
    (item,) = tracker.followed
    assert (item.track.start, item.track.end) == (0.0, 2.8)


@pytest.mark.parametrize(("colour", "after"), [((20, 20, 200), 2.8), ((200, 20, 20), 4.0)])
def test_another_person_or_one_who_comes_too_late_is_new(colour: tuple[int, int, int], after: float) -> None:
    red, tracker = (200, 20, 20), Tracker()
    things = observe([detection("person", 0.7, left=0.2, top=0.4, size=0.2)])
    for tick in range(5):
        tracker.update(tick * 0.2, things, image=_painted((0.2, red), (0.3, red)))
    for tick in range(5, 14):
        tracker.update(tick * 0.2, (), image=_painted())
    assert set(tracker.update(after, things, image=_painted((0.2, colour), (0.3, colour)))) == {2}


def test_who_stands_before_it_does_not_change_how_a_person_is_remembered() -> None:
    red, blue, tracker = (200, 20, 20), (20, 20, 200), Tracker()
    person = detection("person", 0.7, left=0.2, top=0.4, size=0.2)
    before = detection("person", 0.8, left=0.28, top=0.4, size=0.2)
    alone, hidden = _painted((0.2, red), (0.3, red)), _painted((0.2, red), (0.28, blue), (0.38, blue))
    for tick in range(30):
        covered = tick >= 5
        things = observe([person, before] if covered else [person])
        tracker.update(tick * 0.2, things, image=hidden if covered else alone)
    for tick in range(30, 39):
        tracker.update(tick * 0.2, (), image=_painted())
    assert tracker.tentative == {1, 2}
    assert set(tracker.update(7.8, observe([person]), image=alone)) == {1}


def test_what_stands_where_nothing_changed_has_not_moved() -> None:
    tracker = Tracker()
    elsewhere = Box(0.8, 0.8, 0.1, 0.1)
    for tick in range(5):
        things = observe([detection("chair", 0.6, left=0.2 + 0.02 * (tick % 2), size=0.2)])
        tracker.update(tick * 0.2, things, regions=(elsewhere,))
    assert [item.moved for item in tracker.followed] == [False]
    tracker.update(1.0, things, regions=(Box(0.2, 0.35, 0.2, 0.2),))
    assert [item.moved for item in tracker.followed] == [True]
    tracker.update(1.2, things, regions=())
    assert [item.moved for item in tracker.followed] == [True]


def test_without_regions_everything_counts_as_moved() -> None:
    tracker = Tracker()
    for tick in range(2):
        _see(tracker, tick * 0.2, detection("chair", 0.6))
    assert [item.moved for item in tracker.followed] == [True]


def test_who_leaves_the_place_where_it_began_has_moved() -> None:
    tracker = Tracker()
    for tick in range(5):
        tracker.update(tick * 0.2, observe([detection("car", 0.6, left=0.2 + 0.03 * tick, size=0.2)]), regions=())
    assert [item.moved for item in tracker.followed] == [True]


def test_weak_sightings_keep_a_track_but_begin_none_and_not_for_ever() -> None:
    tracker = Tracker()
    _see(tracker, 0.0, detection("person", 0.40), detection("cup", 0.39, left=0.0))
    _see(tracker, 0.2, detection("person", 0.40), detection("cup", 0.39, left=0.0))
    assert tracker.followed == ()
    for tick in range(60):
        score = 0.6 if tick < 2 else 0.40
        _see(tracker, 1.0 + tick * 0.2, detection("person", score))
        if tick == 30:
            assert len(tracker.followed) == 1
    assert tracker.followed == ()


def test_a_moving_object_keeps_its_track() -> None:
    tracker = Tracker()
    for tick in range(10):
        _see(tracker, tick * 0.2, detection("car", 0.7, left=0.05 * tick, size=0.15))
    (item,) = tracker.followed
    assert item.track.start == 0.0
    assert item.track.sightings[-1].box.left == pytest.approx(0.45)


def test_two_people_who_walk_side_by_side_stay_two() -> None:
    tracker = Tracker()
    for tick in range(8):
        left = 0.1 + 0.02 * tick
        _see(tracker, tick * 0.2, detection("person", 0.8, left=left), detection("person", 0.7, left=left + 0.15))
    assert len(tracker.followed) == 2


def test_the_label_is_voted_by_the_family() -> None:
    tracker = Tracker()
    for tick in range(6):
        phone = detection("cell phone", 0.5)
        vehicle = detection(("car", "truck")[tick % 2], 0.45)
        _see(tracker, tick * 0.2, phone, vehicle, detection("car", 0.42))
    (item,) = tracker.followed
    assert item.track.label == "car"
    assert item.labels[0].label == "car"
    assert {label.label for label in item.labels} == {"car", "truck", "cell phone"}


def test_a_rider_and_the_bicycle_are_two_things() -> None:
    tracker = Tracker()
    for tick in range(3):
        _see(tracker, tick * 0.2, detection("person", 0.8), detection("bicycle", 0.6))
    assert {item.track.label for item in tracker.followed} == {"person", "bicycle"}


def test_a_part_of_a_person_is_not_another_person() -> None:
    whole, head = detection("person", 0.8, size=0.4), detection("person", 0.6, left=0.5, top=0.42, size=0.1)
    assert len(observe([head, whole])) == 1
    assert observe([head, whole])[0].score == 0.8


def test_a_cut_and_time_that_runs_back_lose_everything() -> None:
    tracker = Tracker()
    for time in (5.0, 5.2):
        _see(tracker, time, detection("dog", 0.7))
    assert tracker.followed
    tracker.reset()
    assert tracker.followed == ()
    for time in (6.0, 6.2, 1.0):
        _see(tracker, time, detection("dog", 0.7))
    assert tracker.followed == ()


def test_memory_is_bounded_and_keeps_both_ends() -> None:
    tracker = Tracker(Rules(most_tracks=3))
    for tick in range(400):
        _see(tracker, tick * 0.2, *(detection("cup", 0.5 + n / 100, left=n / 10, size=0.05) for n in range(8)))
    assert len(tracker.followed) == 3
    for item in tracker.followed:
        assert len(item.track.sightings) <= 16
        times = [sighting.time for sighting in item.track.sightings]
        assert times == sorted(times)
        assert (times[0], times[-1]) == (item.track.start, item.track.end)


_boxes = st.builds(Box, *[st.floats(-0.2, 1.2)] * 2, *[st.floats(0.0, 1.0)] * 2)
_found = st.builds(Detection, st.sampled_from(["person", "car", "truck"]), st.floats(0.0, 1.0), _boxes)
_looks = st.lists(
    st.tuples(st.one_of(st.floats(0.0, 20.0), st.floats(-1e12, 1e12)), st.lists(_found, max_size=6), st.booleans()),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(_looks)
def test_any_looks_in_any_order_are_borne_by_bounded_memory(
    looks: list[tuple[float, list[Detection], bool]],
) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (24, 32, 3), np.uint8)
    rules = Rules(most_tracks=4, most_lost=2, most_sightings=5)
    trackers = Tracker(rules), Tracker(rules)
    now, begun = -np.inf, {}
    for time, found, seen in looks:
        told = []
        for tracker in trackers:
            tracker.update(time, observe(found), image=picture if seen else None, regions=[d.box for d in found[:2]])
            tracker.age(time)
            told.append((tracker.followed, tracker.tentative, tracker.curious))
        assert told[0] == told[1]
        followed, tentative, _ = told[0]
        ids = {item.track.track_id for item in followed}
        assert len(ids) == len(followed) <= 4
        assert len(ids | tentative) <= 4 + 2
        if time < now:
            begun, fresh = {}, max(begun, default=0)
            assert min(ids | tentative, default=fresh + 1) > fresh
        for item in followed:
            assert len(item.track.sightings) <= 5
            assert begun.setdefault(item.track.track_id, item.track.start) == item.track.start
        now = time


def test_where_nothing_changed_the_same_thing_still_stands() -> None:
    """Bottles on a shelf look alike; after minutes without a look each must still be itself."""
    tracker, places = Tracker(), [Box(left, 0.3, 0.1, 0.5) for left in (0.1, 0.45, 0.8)]
    shelf = [Observation(place, "bottle", 0.6, (LabelScore("bottle", 0.6),)) for place in places]
    for look in range(3):
        tracker.update(look * 0.2, shelf, regions=())
    before = {item.track.track_id: item.track.sightings[-1].box for item in tracker.followed}
    tracker.update(300.0, shelf[1:], regions=())
    tracker.update(600.0, shelf, regions=())
    tracker.update(900.0, shelf, regions=())
    after = {item.track.track_id: item.track.sightings[-1].box for item in tracker.followed}
    assert after == before
    assert not any(item.moved for item in tracker.followed)


def test_what_nobody_disturbs_is_still_there_though_nobody_looks() -> None:
    tracker = Tracker()
    shelf = [Observation(Box(0.1, 0.3, 0.1, 0.5), "bottle", 0.6, (LabelScore("bottle", 0.6),))]
    for look in range(3):
        tracker.update(look * 0.2, shelf, regions=())
    tracker.stand(60.0, (Box(0.5, 0.5, 0.2, 0.2),))
    assert tracker.followed[0].track.end == 60.0
    tracker.stand(120.0, (Box(0.0, 0.0, 0.4, 0.9),))
    assert tracker.followed[0].track.end == 60.0, "somebody stands before it: nobody knows"
    assert tracker.followed[0].track.sightings[-1].time == 0.4, "it was not seen then, and no sighting says so"
