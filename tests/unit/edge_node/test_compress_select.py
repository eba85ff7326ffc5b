"""Stage 3: regimes, both counts of frames at full resolution, and scores, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.compress.sample import last, uniform
from edge_node.compress.select import (
    Regime,
    best_frames,
    cosine_scores,
    paper_full_count,
    regime,
    released_full_count,
    released_scores,
)
from foveate.errors import InvalidInput

BUDGET = 8064  # 56 x 144 = 126 x 64


@pytest.mark.parametrize(
    ("frames", "expected"), [(55, Regime.FULL), (56, Regime.MIXED), (126, Regime.MIXED), (127, Regime.LOW)]
)
def test_regimes(frames, expected):
    assert regime(frames, budget=BUDGET) is expected


def test_released_count():
    assert released_full_count(100, budget=BUDGET) == 20  # (8064 - 6400) / 80 = 20.8
    assert released_full_count(56, budget=BUDGET) == 56  # (8064 - 3584) / 80 = 56
    assert released_full_count(126, budget=BUDGET) == 0
    assert released_full_count(200, budget=BUDGET) == 0
    assert released_full_count(3, budget=BUDGET) == 3  # never more than there are


def test_paper_count_takes_the_question_off():
    assert paper_full_count(100, context=8192, text=128) == 20
    assert paper_full_count(100, context=8192, text=200) == 19  # (8192 - 200 - 6400) / 80 = 19.9
    assert paper_full_count(200, context=8192, text=128) == 0  # max(0, ...)


def test_one_resolution_takes_what_fits():
    assert released_full_count(9, budget=700, full=100, low=100) == 7


def test_released_scores_are_raw_products():
    # Frame 0: 1*1+0 = 1, 1*0+0*1 = 0, 3, 0 over four pairs = 1. Frame 1: 0, 2, 0, 4 = 1.5; its cosines are no higher.
    visual = np.array([[[1.0, 0.0], [3.0, 0.0]], [[0.0, 2.0], [0.0, 4.0]]])
    text = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert released_scores(visual, text).tolist() == pytest.approx([1.0, 1.5])


def test_cosine_scores_know_no_length():
    scores = cosine_scores(np.array([[3.0, 4.0], [0.0, 9.0], [0.0, 0.0]]), np.array([2.0, 0.0]))
    assert scores.tolist() == pytest.approx([0.6, 0.0, 0.0])


def test_best_frames_stay_in_order_of_time_and_the_earlier_of_equals_wins():
    assert best_frames(5, 3, [0.1, 0.9, 0.5, 0.5, 0.5]).tolist() == [1, 2, 3]
    assert best_frames(5, 9, [0, 1, 2, 3, 4]).tolist() == [0, 1, 2, 3, 4]
    assert best_frames(4, 2).tolist() == [0, 2]


@pytest.mark.parametrize("scores", [[1.0], [1.0, float("nan")]])
def test_scores_that_do_not_fit_are_refused(scores):
    with pytest.raises(InvalidInput):
        best_frames(2, 1, scores)


def test_low_resolution_costs_no_more_than_full():
    with pytest.raises(InvalidInput):
        regime(3, budget=100, full=64, low=144)


def test_baselines():
    assert uniform(10, 2).tolist() == [2, 7]
    assert uniform(3, 5).tolist() == [0, 1, 2]
    assert uniform(3, 0).tolist() == []
    assert last(10, 3).tolist() == [7, 8, 9]
    assert last(2, 3).tolist() == [0, 1]
    assert last(2, 0).tolist() == []
