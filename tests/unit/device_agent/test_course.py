"""Where a thing should be by now, and how sure that is."""

from __future__ import annotations

import pytest

from device_agent.course import Course, centre
from foveate.vision.boxes import Box


def _at(x: float) -> Box:
    return Box(x - 0.05, 0.4, 0.1, 0.2)


@pytest.mark.parametrize("fps", [1, 5, 25])
def test_steady_speed_is_learned_and_foretold(fps: int) -> None:
    course = Course(0.0, _at(0.1))
    for tick in range(1, 5 * fps + 1):
        course.update(tick / fps, _at(0.1 + 0.1 * tick / fps))
    x, y, _ = course.ahead(6.0)
    assert (x, y) == (pytest.approx(0.7, abs=0.02), pytest.approx(0.5))


def test_doubt_grows_with_time_and_then_no_further() -> None:
    course = Course(0.0, _at(0.5))
    for tick in range(1, 20):
        course.update(tick * 0.1, _at(0.5))
    doubts = [course.ahead(1.9 + wait)[2] for wait in (0.0, 0.5, 1.0, 2.0, 60.0)]
    assert doubts[:4] == sorted(set(doubts[:4]))
    assert doubts[4] == pytest.approx(doubts[3])
    assert course.ahead(61.9)[0] == pytest.approx(0.5, abs=0.01)


def test_far_and_near_are_measured_by_their_own_size() -> None:
    near, far = Course(0.0, Box(0.3, 0.3, 0.4, 0.4)), Course(0.0, Box(0.3, 0.3, 0.04, 0.04))
    assert near.ahead(1.0)[2] == far.ahead(1.0)[2]
    assert near.size == pytest.approx(10 * far.size)


def test_the_same_moment_twice_and_a_point_are_borne() -> None:
    course = Course(1.0, Box(0.5, 0.5, 0.0, 0.0))
    course.update(1.0, Box(0.5, 0.5, 0.0, 0.0))
    assert course.ahead(1.0)[:2] == centre(Box(0.5, 0.5, 0.0, 0.0))
