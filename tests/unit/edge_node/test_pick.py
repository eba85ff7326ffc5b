"""Key frames: sharp, the objects large and whole, and no two nearly equal."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from edge_node.decode import Frame
from edge_node.pick import SAME, Worth, best_moment, choose, objects, ranked, sharpness
from foveate.messages import Sighting, Track
from foveate.vision.boxes import Box


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (180, 320, 3), np.uint8)


def blurred(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(3)))


def track(*seen: tuple[float, Box], score: float = 0.8) -> Track:
    sightings = tuple(Sighting(time, "person", score, box) for time, box in seen)
    return Track(1, "person", score, seen[0][0], seen[-1][0], sightings)


def frame(time: float) -> Frame:
    return Frame(time, np.zeros((2, 2, 3), np.uint8))


MIDDLE = Box(0.4, 0.4, 0.2, 0.2)


def test_a_blurred_picture_is_less_sharp_and_a_plain_one_not_at_all() -> None:
    picture = noise(1)
    assert sharpness(picture) > 10 * sharpness(blurred(picture)) > 0
    assert sharpness(np.full((90, 160, 3), 77, np.uint8)) == 0


def test_sharpness_does_not_go_by_size() -> None:
    small = Image.fromarray(blurred(noise(1)))
    large = small.resize((960, 540), Image.Resampling.BILINEAR)
    assert sharpness(np.asarray(large)) == pytest.approx(sharpness(np.asarray(small)), rel=0.5)


def test_objects_count_by_their_side_and_score_and_half_when_the_border_cuts_them() -> None:
    assert objects([track((5.0, MIDDLE))], 5.3) == pytest.approx(0.8 * 0.2)
    assert objects([track((5.0, Box(0.0, 0.4, 0.2, 0.2)))], 5.0) == pytest.approx(0.8 * 0.2 / 2)
    assert objects([track((5.0, Box(0.85, 0.4, 0.15, 0.2)))], 5.0) == pytest.approx(0.8 * 0.03**0.5 / 2)
    assert objects([track((5.0, MIDDLE)), track((5.1, MIDDLE))], 5.0) == pytest.approx(2 * 0.8 * 0.2)


def test_a_sighting_says_nothing_about_pictures_long_before_or_after() -> None:
    assert objects([track((5.0, MIDDLE))], 5.8) == 0
    assert objects([], 5.0) == 0


def test_the_best_moment_is_where_the_object_is_largest_within_the_span() -> None:
    walk = track((1.0, Box(0.4, 0.4, 0.1, 0.1)), (4.0, MIDDLE), (9.0, Box(0.3, 0.3, 0.4, 0.4)))
    assert best_moment([walk], 0.0, 5.0) == 4.0
    assert best_moment([walk], 0.0, 10.0) == 9.0
    assert best_moment([walk], 20.0, 30.0) is None


def test_ranking_weighs_sharpness_and_objects_against_the_best_of_the_clip() -> None:
    worth = [Worth(100, 0.0), Worth(100, 0.4), Worth(10, 0.4), Worth(90, 0.2)]
    assert ranked(worth) == [1, 3, 2, 0]
    # Without any object, the sharpest; without any detail, in order.
    assert ranked([Worth(1, 0), Worth(3, 0)]) == [1, 0]
    assert ranked([Worth(0, 0), Worth(0, 0)]) == [0, 1]
    assert ranked([]) == []


def unit(*angles: float) -> list[np.ndarray]:
    return [np.array([np.cos(a), np.sin(a)], np.float32) for a in angles]


def test_nearly_equal_pictures_are_taken_once_and_time_orders_what_is_taken() -> None:
    same = float(np.arccos(SAME)) * 0.9
    vectors = dict(zip((0.0, 1.0, 2.0, 3.0), unit(0.0, same, 1.0, 2.0), strict=True))
    frames = [frame(time) for time in vectors]
    worth = [Worth(5, 0), Worth(6, 0), Worth(3, 0), Worth(9, 0)]
    chosen = choose(frames, worth, features=lambda one: vectors[one.time], most=3)
    assert [one.time for one in chosen] == [1.0, 2.0, 3.0]
    assert [one.time for one in choose(frames, worth, features=lambda one: vectors[one.time], most=1)] == [3.0]


def test_only_so_many_pictures_are_encoded() -> None:
    calls: list[float] = []

    def features(one: Frame) -> np.ndarray:
        calls.append(one.time)
        return unit(0.0)[0]

    frames = [frame(float(index)) for index in range(20)]
    chosen = choose(frames, [Worth(1, 0)] * 20, features=features, most=3, tries=4)
    assert len(chosen) == 1
    assert len(calls) == 4
