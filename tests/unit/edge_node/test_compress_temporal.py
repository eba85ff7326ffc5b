"""Stage 1: the paper's and the released code's rule by hand, guards, and a stream that equals its batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_node.compress.temporal import (
    STREAMED,
    PaperRule,
    ReleasedRule,
    StreamedFrames,
    batch_frames,
    excluded_threshold,
    kept_frames,
    thinned,
)
from foveate.errors import InvalidInput

# a=(1,0) b=(.8,.6) c=(0,1) d=(1,0): ab=.8 ac=0 ad=1 bc=.6 bd=.8 cd=0.
#   means without itself: a (.8+0+1)/3=.6    b (.8+.6+.8)/3=.7333   c (0+.6+0)/3=.2    d .6
#   means with itself:    a (1+1.8)/4=.7     b (1+2.2)/4=.8         c (1+.6)/4=.4      d .7
A, B, C, D = (1.0, 0.0), (0.8, 0.6), (0.0, 1.0), (1.0, 0.0)


def clips(longest: int = 40):
    return st.integers(1, longest).flatmap(
        lambda n: arrays(np.float32, (n, 3), elements=st.floats(-2, 2, width=32, allow_subnormal=False))
    )


def test_paper_leaves_a_frame_itself_out_of_its_mean():
    kept = PaperRule(threshold=0.65).keep(np.array([A, B, C, D]))
    assert kept.tolist() == [True, False, True, True]


def test_released_counts_a_frame_itself_so_the_same_threshold_drops_more():
    kept = ReleasedRule(threshold=0.65).keep(np.array([A, B, C, D]))
    assert kept.tolist() == [False, False, True, False]  # a .7, b .8, c is the middle, d .7


def test_released_keeps_the_middle_frame_whatever_it_is_like():
    window = np.array([A, C, B, D])
    assert ReleasedRule(threshold=0.75).keep(window).tolist() == [True, True, True, True]  # b's .8 is set to 0
    assert ReleasedRule(threshold=0.75).keep(window[[2, 1, 0, 3]]).tolist() == [False, True, True, True]


@pytest.mark.parametrize(("n", "middle"), [(16, 8), (15, 7), (2, 1), (1, 0)])
def test_of_a_still_window_released_keeps_the_middle_and_paper_nothing(n: int, middle: int):
    still = np.ones((n, 4), np.float32)
    assert np.flatnonzero(ReleasedRule().keep(still)).tolist() == [middle]
    assert PaperRule().keep(still).sum() == (1 if n == 1 else 0)


def test_a_mean_that_equals_the_threshold_is_dropped_by_both():
    two = np.array([(1.0, 0.0), (0.6, 0.8)])  # cosine .6; with itself (1+.6)/2 = .8
    assert PaperRule(threshold=0.6).keep(two).tolist() == [False, False]
    assert ReleasedRule(threshold=0.8).keep(two).tolist() == [False, True]


def test_thresholds_convert():
    assert excluded_threshold(0.83, 8) == pytest.approx((8 * 0.83 - 1) / 7) == pytest.approx(0.8057, abs=1e-4)
    assert excluded_threshold(0.83, 16) == pytest.approx(0.8187, abs=1e-4)
    assert excluded_threshold(0.75, 4) == pytest.approx(2 / 3)
    with pytest.raises(InvalidInput):
        excluded_threshold(0.8, 1)


def test_converted_thresholds_decide_alike_but_for_the_middle():
    features = np.random.default_rng(7).normal(size=(64, 5)) + 2.5
    released = kept_frames(features, ReleasedRule(window=8, threshold=0.83))
    paper = kept_frames(features, PaperRule(window=8, threshold=excluded_threshold(0.83, 8)))
    apart = np.arange(64) % 8 != 4
    assert released[apart].tolist() == paper[apart].tolist()
    assert 0 < paper.sum() < 64


def test_length_of_a_vector_does_not_matter():
    window = np.array([A, B, C, D])
    longer = window * np.array([[1.0], [5.0], [0.1], [30.0]])
    assert PaperRule(threshold=0.65).keep(longer).tolist() == [True, False, True, True]


def test_short_clips_are_never_pruned():
    still = np.ones((126, 2), np.float32)
    assert batch_frames(still[:125], fit=126).tolist() == list(range(125))
    # 126 frames are 7 windows of 16 and one of 14, whose middle is 112 + 14 // 2.
    assert batch_frames(still, fit=126).tolist() == [8, 24, 40, 56, 72, 88, 104, 119]


def test_at_most_400_frames_stay_evenly():
    kept = batch_frames(np.eye(500, dtype=np.float32), fit=126)
    assert len(kept) == 400
    assert kept.tolist()[:5] == [0, 1, 2, 3, 5]  # int(1.25 i)
    assert kept[-1] == int(1.25 * 399)
    assert thinned(3, 400).tolist() == [0, 1, 2]


@pytest.mark.parametrize("rule", [PaperRule(), STREAMED, ReleasedRule()])
@settings(deadline=None)
@given(features=clips())
def test_a_stream_keeps_what_the_batch_keeps(rule, features):
    stream: StreamedFrames[int] = StreamedFrames(rule)
    found: list[int] = []
    for number, vector in enumerate(features):
        came = stream.push(number, vector)
        assert all(number - one < rule.window for one in came)  # waits for at most window - 1 others
        assert stream.waiting < rule.window
        found += came
    found += stream.flush()
    assert found == np.flatnonzero(kept_frames(features, rule)).tolist()
    assert stream.waiting == 0


@settings(deadline=None)
@given(features=clips())
def test_a_stream_shows_something_of_each_window(features):
    kept = kept_frames(features, STREAMED)
    assert all(kept[start : start + 8].any() for start in range(0, len(kept), 8))


def test_what_is_no_vector_is_refused():
    with pytest.raises(InvalidInput):
        StreamedFrames[int]().push(0, np.ones((2, 2)))
    with pytest.raises(InvalidInput):
        kept_frames(np.ones(5), PaperRule())
    assert len(kept_frames(np.zeros((0, 5)), PaperRule())) == 0
