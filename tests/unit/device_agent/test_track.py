"""Following objects: what is confirmed, what is lost, and what it is called."""

from __future__ import annotations

import pytest

from device_agent.track import Rules, Tracker, observe
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
    _see(tracker, 1.2, detection("person", 0.9))
    assert tracker.followed == ()


def test_a_track_survives_a_short_absence_and_no_longer_one() -> None:
    tracker = Tracker()
    for time in (0.0, 0.2, 1.6):
        _see(tracker, time, detection("person", 0.6))
    assert [item.track.end for item in tracker.followed] == [1.6]
    tracker.age(3.2)
    assert tracker.followed == ()


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
