"""The token mask: each regime by hand, and a budget that is never passed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.compress.mask import token_mask
from edge_node.compress.spatial import ReleasedTokens
from edge_node.compress.temporal import PaperRule, ReleasedRule
from foveate.errors import InvalidInput


def moving(count: int, *, seed: int = 0) -> np.ndarray:
    """Frames that do not look alike, 12 × 12 × 6."""
    return np.random.default_rng(seed).normal(size=(count, 12, 12, 6)).astype(np.float32)


def test_few_frames_are_all_whole():
    mask = token_mask(moving(3), budget=3 * 144 + 143)
    assert mask.keep.all()
    assert mask.full.all()
    assert mask.tokens == 432


def test_a_mixture_has_the_best_frames_whole_and_the_others_at_64():
    mask = token_mask(moving(10), budget=800, scores=[0, 9, 1, 8, 2, 7, 3, 6, 4, 5])
    # Nh = (800 - 10 * 64) / 80 = 2.
    assert np.flatnonzero(mask.full).tolist() == [1, 3]
    assert mask.keep.sum(axis=(1, 2)).tolist() == [64, 144, 64, 144, 64, 64, 64, 64, 64, 64]
    assert mask.frames == tuple(range(10))


def test_too_many_frames_lose_what_stays_as_it_was():
    # 10 frames at 64 for a budget of 600; frames 1 to 7 and 9 repeat their chunk's first but for one column of 8.
    tokens = np.zeros((10, 12, 12, 2), np.float32)
    tokens[..., 0] = 1.0
    tokens[[1, 2, 3, 4, 5, 6, 7, 9], :, 11] = [0.0, 1.0]
    mask = token_mask(tokens, budget=600, features=np.eye(10, dtype=np.float32))
    # Column 7 of the small grid is at 7.5 * 1.5 - .5 = 10.75: (.25, .75), cosine .25 / sqrt(.625) = .32 < .8.
    assert mask.keep.sum(axis=(1, 2)).tolist() == [64, 8, 8, 8, 8, 8, 8, 8, 64, 8]
    assert not mask.full.any()


def test_scraps_of_every_frame_give_way_to_whole_ones():
    # Ten chunks of one frame, 640 tokens, budget 70: the cut takes 57 of each and leaves 7 tokens of every frame.
    mask = token_mask(
        moving(10),
        budget=70,
        scores=[0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        features=np.eye(10),
        same=ReleasedTokens(chunk=1),
    )
    assert mask.frames == (3,)
    assert mask.tokens == 64


def test_frames_that_look_alike_go_first():
    mask = token_mask(np.ones((32, 12, 12, 2), np.float32), budget=300, frames=ReleasedRule())
    assert mask.frames == (8, 24)  # the middles of two windows of 16
    assert mask.full.all()


def test_a_still_clip_keeps_a_frame_even_by_the_rule_of_the_paper():
    mask = token_mask(np.ones((32, 12, 12, 2), np.float32), budget=300, frames=PaperRule(), scores=[0.0] * 31 + [1.0])
    assert mask.frames == (31,)
    assert mask.tokens == 144


def test_flat_places_are_those_of_the_kept_tokens():
    tokens = moving(30)
    mask = token_mask(tokens, budget=1000)
    flat = tokens.reshape(-1, 6)[mask.flat]
    assert (flat == tokens[list(mask.frames)][mask.keep]).all()


@settings(deadline=None)
@given(
    count=st.integers(0, 40),
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    budget=st.integers(-5, 400),
    still=st.booleans(),
    scored=st.booleans(),
    seed=st.integers(0, 99),
    frames=st.sampled_from([PaperRule(), ReleasedRule(), ReleasedRule(8)]),
    chunk=st.integers(1, 9),
)
def test_never_more_than_the_budget_and_a_whole_frame_when_one_fits(
    count, rows, columns, budget, still, scored, seed, frames, chunk
):
    random = np.random.default_rng(seed)
    tokens = random.normal(size=(count, rows, columns, 3)).astype(np.float32)
    if still:
        tokens[:] = tokens[:1]
    scores = random.normal(size=count).tolist() if scored else None
    same = ReleasedTokens(chunk=chunk)
    mask = token_mask(tokens, budget=budget, scores=scores, frames=frames, same=same)
    assert mask.tokens <= max(0, budget)
    assert mask.tokens == mask.keep.sum() == len(mask.flat)
    assert list(mask.frames) == sorted(set(mask.frames))
    assert mask.keep.shape == (len(mask.frames), rows, columns)
    assert mask.keep.any(axis=(1, 2)).all()
    area = mask.low[0] * mask.low[1]
    if count and budget >= area:
        assert (mask.keep.sum(axis=(1, 2)) >= area).any()
    else:
        assert mask.tokens == 0


@pytest.mark.parametrize(
    "wrong",
    [{"scores": [1.0]}, {"features": np.ones((1, 4))}, {"low": (13, 13)}],
)
def test_inputs_that_do_not_fit_together_are_refused(wrong):
    with pytest.raises(InvalidInput):
        token_mask(moving(2), budget=1000, **wrong)
    with pytest.raises(InvalidInput):
        token_mask(np.ones((2, 3, 4)), budget=1000)
