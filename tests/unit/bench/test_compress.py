"""What `bench/compress.py` calls held and right, and what it asks, by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edge_node.compress.seam import WHOLE, Planned
from edge_node.compress.temporal import ReleasedRule
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection

SPANS = [(6.0, 7.0)]


@pytest.fixture(scope="module", autouse=True)
def bench():
    # Its modules import each other as scripts do.
    sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))
    yield
    sys.path.pop(0)


@pytest.fixture
def footage() -> ModuleType:
    import compress_footage

    return compress_footage


@pytest.fixture
def ways() -> ModuleType:
    import compress_ways

    return compress_ways


class Sees:
    """Two cars in picture 12, one of them under two names in a crop, none in others."""

    def look(self, reel, planned):
        if planned.index != 12:
            return ()
        one = Detection("car", 0.9, Box(0.1, 0.1, 0.2, 0.2))
        return (one, Detection("truck", 0.8, Box(0.1, 0.1, 0.2, 0.21)), Detection("car", 0.9, Box(0.6, 0.1, 0.2, 0.2)))


def reel(footage: ModuleType, questions=()):
    scores = np.zeros(40, np.float32)
    scores[13] = 1.0
    features = np.ones((40, 3), np.float32)
    pictures = [np.zeros((4, 4, 3), np.uint8)] * 40
    labels = frozenset({"car", "truck"})
    return footage.Reel("clip", "car", labels, pictures, features, None, features, scores, list(questions))


def shown(*indices: int) -> list[Planned]:
    return [Planned(i, WHOLE, 4, 4, 1) for i in indices]


def test_a_window_that_an_event_only_grazes_is_not_asked_about(footage):
    asked = footage._whether(30.0, [(6.0, 7.2), (10.0, 10.4)])
    windows = {(q.start, q.end): q.truth for q in asked}
    assert windows[(5.0, 10.0)] is True
    assert (10.0, 15.0) not in windows
    assert windows[(0.0, 5.0)] is False
    now = [(q.at, q.start, q.end) for q in asked if q.recent]
    assert now == [(20.0, 15.0, 20.0), (25.0, 20.0, 25.0), (30.0, 25.0, 30.0)]


def test_counts_of_steps_and_frames(footage):
    most = footage._most_of_steps([[0, 3], [7.0, 2], [12.0, 5]])
    assert most(7.5, 12.0) == 2
    assert most(6.0, 12.5) == 5
    assert footage._most_of_frames({3: {1: None, 2: None}, 5: {1: None}}, 4, 6) == 1


def test_nothing_kept_of_the_asked_time_is_never_right(footage, ways):
    no = footage.Question("whether", 20.0, 0.0, 5.0, False)
    none = footage.Question("how many", 20.0, 0.0, 5.0, 0)
    one = reel(footage)
    assert ways.judged(one, no, shown(12, 30), Sees()) == {"held": False, "right": False}
    assert ways.judged(one, none, shown(12), Sees()) == {"held": False, "right": False, "error": None}
    assert ways.judged(one, no, shown(2), Sees()) == {"held": True, "right": True}


def test_a_thing_under_two_names_or_seen_again_in_a_crop_counts_once(footage, ways):
    question = footage.Question("how many", 20.0, 5.0, 10.0, 4)
    crop = Planned(12, Box(0.0, 0.0, 0.5, 0.5), 4, 4, 1)
    found = ways.judged(reel(footage), question, [*shown(12), crop], Sees())
    assert found == {"held": True, "right": False, "error": 2}
    sums = ways.summed([found, {"held": False, "right": False, "error": None}])
    assert sums == {"questions": 2, "held": 0.5, "right": 0.0, "error": 2}


def test_a_find_is_right_when_the_best_by_score_is_of_the_event(footage, ways):
    question = footage.Question("when", 20.0, *SPANS[0], SPANS[0])
    one = reel(footage, [question])
    assert ways.judged(one, question, shown(12, 13), Sees()) == {"held": True, "right": True}
    one.scores[2] = 2.0
    assert ways.judged(one, question, shown(2, 12), Sees()) == {"held": True, "right": False}
    assert ways.judged(one, question, [], Sees()) == {"held": False, "right": False}


def test_waits_are_those_of_the_stream(footage, ways):
    kept, waits = ways.stage_one(reel(footage), 11, ReleasedRule(window=8))
    # Of a still window the fifth frame stays, when the eighth came; of the last three, the second, at the end.
    assert kept == [4, 9]
    assert waits == [3, 1]
