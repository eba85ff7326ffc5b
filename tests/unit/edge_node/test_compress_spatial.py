"""Stage 4: both rules at the threshold, the cut from the tails, and smaller grids, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.compress.spatial import (
    PaperTokens,
    ReleasedTokens,
    StreamedTokens,
    kept_tokens,
    released_cut,
    shrunk,
    subgrid,
)
from foveate.errors import InvalidInput

ONE = [1.0, 0.0]


def frames(*rows: list[list[float]]) -> np.ndarray:
    """Frames of a grid of one row."""
    return np.array(rows)[:, None]


def test_at_the_threshold_the_paper_keeps_and_the_released_code_drops():
    # Cosines with (1,0): .8 at the threshold, .6 below, 1 above.
    clip = frames([ONE, ONE, ONE], [[0.8, 0.6], [0.6, 0.8], [5.0, 0.0]])
    assert kept_tokens(clip, PaperTokens(0.8))[1, 0].tolist() == [True, True, False]
    assert kept_tokens(clip, ReleasedTokens(0.8))[1, 0].tolist() == [False, True, False]


def test_each_chunk_begins_with_a_whole_frame_and_is_compared_with_it():
    turned = [0.0, 1.0]
    clip = frames(*[[ONE]] * 4, *[[turned]] * 5)  # turns in the first chunk, at frame 4; the second begins at 8
    kept = kept_tokens(clip, ReleasedTokens())[:, 0, 0]
    # Frames 4 to 7 differ from frame 0, not only the one in which it turned.
    assert kept.tolist() == [True, False, False, False, True, True, True, True, True]


def test_cut_takes_from_the_tail_of_every_chunk():
    # Chunks of two frames keep 4 + 2 and 4 + 1 of a grid of four: 11. Budget 8: excess 3, ceil(3 / 2) = 2 off each.
    mask = np.array([[1, 1, 1, 1], [0, 1, 0, 1], [1, 1, 1, 1], [1, 0, 0, 0]], bool)[:, None]
    cut = released_cut(mask, budget=8, chunk=2)
    assert cut[:, 0].astype(int).tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]]


def test_what_the_cut_leaves_over_is_cut_off_the_end():
    # 8 + 4 tokens, budget 1: excess 11, ceil(11 / 2) = 6 off each leaves 2 and 0, still one too many.
    mask = np.ones((3, 1, 4), bool)
    assert np.argwhere(released_cut(mask, budget=1, chunk=2)).tolist() == [[0, 0, 0]]


def test_within_the_budget_nothing_is_cut():
    mask = np.ones((3, 1, 4), bool)
    assert released_cut(mask, budget=12).all()
    assert not released_cut(mask, budget=0).any()


@settings(deadline=None)
@given(
    mask=st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=30),
    budget=st.integers(0, 200),
    chunk=st.integers(1, 9),
)
def test_the_cut_never_leaves_more_than_the_budget(mask, budget, chunk):
    whole = np.array(mask).reshape(len(mask), 2, 3)
    cut = released_cut(whole, budget=budget, chunk=chunk)
    assert cut.sum() <= budget
    assert not (cut & ~whole).any()


@settings(deadline=None)
@given(seed=st.integers(0, 2**16), count=st.integers(1, 20), most=st.one_of(st.none(), st.integers(0, 20)))
def test_a_stream_decides_at_once_and_as_the_batch(seed, count, most):
    tokens = np.random.default_rng(seed).normal(size=(count, 2, 3, 4)).astype(np.float32) + 0.7
    batch = kept_tokens(tokens, ReleasedTokens())
    stream = StreamedTokens(ReleasedTokens(), most=most)
    streamed = np.stack([stream.push(frame) for frame in tokens])
    if most is None:
        assert (streamed == batch).all()
        return
    for start in range(0, count, 8):
        one, other = streamed[start : start + 8].ravel(), batch[start : start + 8].ravel()
        assert np.flatnonzero(one).tolist() == np.flatnonzero(other)[:most].tolist()


def test_a_stream_does_not_follow_an_array_that_is_written_over():
    stream, frame = StreamedTokens(ReleasedTokens()), np.ones((1, 1, 2))
    stream.push(frame)
    frame[:] = [[[1.0, -1.0]]]
    assert stream.push(frame).all()


def test_smaller_grids_are_bilinear_with_centres_at_half():
    # 3 to 2: places .5 * 1.5 - .5 = .25 and 1.5 * 1.5 - .5 = 1.75.
    tokens = np.array([0.0, 10.0, 20.0]).reshape(1, 1, 3, 1)
    assert shrunk(tokens, rows=1, columns=2).ravel().tolist() == pytest.approx([2.5, 17.5])
    # 12 to 8: 12/8 = 1.5, first place .25.
    line = np.arange(12.0).reshape(1, 12, 1, 1)
    assert shrunk(line, rows=8, columns=1).ravel().tolist() == pytest.approx([0.25 + 1.5 * i for i in range(8)])


def test_a_subgrid_is_evenly_spread():
    mask = subgrid(12, 12, rows=8, columns=8)
    assert mask.sum() == 64
    # floor((i + .5) * 1.5)
    assert np.flatnonzero(mask.any(axis=1)).tolist() == [0, 2, 3, 5, 6, 8, 9, 11]
    with pytest.raises(InvalidInput):
        subgrid(2, 2, rows=3, columns=1)


def test_frames_of_two_grids_are_refused():
    stream = StreamedTokens(PaperTokens())
    stream.push(np.ones((2, 2, 3)))
    with pytest.raises(InvalidInput):
        stream.push(np.ones((2, 3, 3)))
    with pytest.raises(InvalidInput):
        kept_tokens(np.ones((2, 3, 3)), PaperTokens())
