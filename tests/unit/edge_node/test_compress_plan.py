"""The image plan: Nh by hand, crops of what would be too small, devices apart, a budget that is never passed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.compress.plan import Resolution, filled, plan_images
from edge_node.compress.price import FixedTokens, PatchTokens
from edge_node.compress.seam import WHOLE, Candidate
from foveate.errors import InvalidInput
from foveate.vision.boxes import Box

SQUARE = PatchTokens(wrapping=0)  # a picture of 1000 x 1000 costs exactly 144 or 64


def candidates(count: int, **fields) -> list[Candidate]:
    return [Candidate("cam", float(i), 1000, 1000, score=float(i * 7 % count), **fields) for i in range(count)]


def test_nh_pictures_are_at_full_resolution_the_best_in_order_of_time():
    plan = plan_images(candidates(10), budget=800, rule=SQUARE)
    # Nh = (800 - 640) / 80 = 2; scores are 0 7 4 1 8 5 2 9 6 3.
    assert [p.index for p in plan.pictures if p.tokens == 144] == [4, 7]
    assert [p.index for p in plan.pictures] == list(range(10))
    assert plan.tokens == 800
    assert plan.dropped == 0
    assert {(p.width, p.height) for p in plan.pictures} == {(224, 224), (336, 336)}


def test_few_pictures_are_all_at_full_resolution():
    plan = plan_images(candidates(3), budget=10_000, rule=SQUARE, resolution=Resolution(largest=144))
    assert [p.tokens for p in plan.pictures] == [144] * 3


def test_few_pictures_share_the_budget_up_to_the_largest_size():
    # 1500 / 3 = 500: 22 x 22 patches; with 10 000 no more than 1280: 35 x 35, which are its own 1000 pixels.
    assert [p.tokens for p in plan_images(candidates(3), budget=1500, rule=SQUARE).pictures] == [484] * 3
    assert [p.tokens for p in plan_images(candidates(3), budget=10_000, rule=SQUARE).pictures] == [1225] * 3


def test_too_many_pictures_leave_the_best():
    plan = plan_images(candidates(10), budget=200, rule=SQUARE)
    assert plan.frames == (1, 4, 7)
    assert plan.dropped == 7


def test_pictures_without_scores_are_spread():
    level = [replace(one, score=0.0) for one in candidates(9)]
    assert plan_images(level, budget=192, rule=SQUARE).frames == (0, 3, 6)


def test_pictures_that_look_alike_are_thinned_only_when_they_do_not_all_fit():
    alike = candidates(16, features=np.ones(4, np.float32))
    assert plan_images(alike, budget=16 * 64, rule=SQUARE).frames == tuple(range(16))
    plan = plan_images(alike, budget=15 * 64, rule=SQUARE)
    assert plan.frames == (4, 12)
    assert plan.dropped == 14


def test_what_a_plan_leaves_over_is_filled_evenly():
    alike = candidates(16, features=np.ones(4, np.float32))
    plan = plan_images(alike, budget=15 * 64, rule=SQUARE, resolution=Resolution(largest=144))
    assert plan.tokens == 2 * 144
    full = filled(plan, alike, rule=SQUARE)
    # (960 - 288) / 64 = 10.5: ten of the 14 that were left out.
    assert full.tokens == 288 + 640
    assert len(full.frames) == 12
    assert full.dropped == 4
    assert list(full.frames) == sorted(full.frames)
    assert set(plan.pictures) <= set(full.pictures)
    assert filled(full, alike, rule=SQUARE) == full


def test_cameras_are_thinned_apart():
    # In one row, four of each camera would be a window whose pictures do not look alike.
    one, other = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    mixed = [
        Candidate("ab"[i % 2], float(i), 1000, 1000, features=(one, other)[i % 2], score=float(i)) for i in range(16)
    ]
    assert plan_images(mixed, budget=640, rule=SQUARE).frames == (8, 9)  # each camera's fifth of eight


def test_a_thing_too_small_gets_a_crop_and_others_do_not():
    # 400 / 2 = 200 tokens each are 14 x 14 patches or 392 pixels, in which .1 is 39 (< 56) and .5 is 196.
    small, large = Box(0.4, 0.4, 0.05, 0.1), Box(0.2, 0.2, 0.5, 0.5)
    shown = candidates(2)
    shown[1] = replace(shown[1], boxes=(small, large), score=9.0)
    plan = plan_images(shown, budget=400, rule=SQUARE)
    whole = [p for p in plan.pictures if p.whole]
    crops = [p for p in plan.pictures if not p.whole]
    assert [p.index for p in whole] == [0, 1]
    assert [p.index for p in crops] == [1]
    # The box and half of it on each side: 100 x 200 pixels, 3 x 7 patches, in which the thing is 7 * 28 / 2 high.
    assert crops[0].crop.to_pixels(width=1000, height=1000) == (375, 350, 475, 550)
    assert (crops[0].width, crops[0].height) == (84, 196)
    assert plan.pictures.index(crops[0]) == 2  # after its picture
    # 400 - 21 for the crop: 196 for the other picture, and 144 for this one, for which 196 would be too much.
    assert [p.tokens for p in whole] == [196, 144]


def test_a_crop_of_few_pixels_is_blown_up_until_the_thing_can_be_seen():
    # 10 x 20 pixels of a 1000 x 1000 picture: blown up 56 / 20 = 2.8 times, so 20 x 40 become 56 x 112.
    plan = plan_images(candidates(1, boxes=(Box(0.5, 0.5, 0.01, 0.02),)), budget=400, rule=SQUARE)
    crop = plan.pictures[1]
    assert (crop.width, crop.height) == (56, 112)


def test_one_crop_shows_two_things_that_stand_together():
    together = (Box(0.5, 0.5, 0.1, 0.1), Box(0.51, 0.51, 0.05, 0.05))
    plan = plan_images(candidates(1, boxes=together), budget=2000, rule=SQUARE)
    assert len(plan.pictures) == 2


def test_a_crop_is_never_the_picture_itself():
    # 40 pixels are too few to see, but half of the box around it is all that there is.
    tiny = Candidate("cam", 0.0, 40, 40, boxes=(Box(0.25, 0.25, 0.5, 0.5),))
    plan = plan_images([tiny], budget=400, rule=SQUARE)
    assert [p.whole for p in plan.pictures] == [True]


def test_features_of_two_encoders_are_not_compared():
    mixed = candidates(16, features=np.ones(4, np.float32))
    mixed[3] = replace(mixed[3], features=np.ones(5, np.float32))
    assert len(plan_images(mixed, budget=15 * 64, rule=SQUARE).frames) == 15


def test_a_picture_smaller_than_planned_is_shown_rather_than_none():
    plan = plan_images(candidates(3), budget=20, rule=SQUARE)
    assert [(p.index, p.width, p.height) for p in plan.pictures] == [(2, 112, 112)]  # 2 * 7 % 3 = 2 is the best
    assert plan_images(candidates(3), budget=3, rule=SQUARE).pictures == ()


def test_a_model_with_a_fixed_price():
    plan = plan_images(candidates(5), budget=600, rule=FixedTokens(256, 384))
    assert [(p.width, p.height, p.tokens) for p in plan.pictures] == [(384, 384, 256)] * 2


def test_no_candidates_no_plan():
    assert plan_images([], budget=1000, rule=SQUARE).pictures == ()


def test_a_low_resolution_above_the_full_one_is_refused():
    with pytest.raises(InvalidInput):
        plan_images([], budget=1, rule=SQUARE, resolution=Resolution(full=10, low=20))


boxes = st.builds(Box, st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0, 0.5), st.floats(0, 0.5))
vectors = st.sampled_from([None, np.ones(3, np.float32), np.array([1, 0, 0], np.float32)])
some = st.lists(
    st.builds(
        Candidate,
        device_id=st.sampled_from(["a", "b"]),
        time=st.floats(0, 100),
        width=st.integers(1, 4000),
        height=st.integers(1, 4000),
        score=st.floats(-1, 1),
        features=vectors,
        boxes=st.lists(boxes, max_size=3).map(tuple),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(
    given_candidates=some,
    budget=st.integers(-10, 4000),
    rule=st.sampled_from(
        [PatchTokens(), PatchTokens(patch=32, least=64), FixedTokens(81, 384), FixedTokens(1000, 384)]
    ),
    resolution=st.sampled_from([None, Resolution(1024, 256, 100), Resolution(20, 5, 10)]),
)
def test_never_more_than_the_budget_and_one_picture_when_one_fits(given_candidates, budget, rule, resolution):
    plan = plan_images(given_candidates, budget=budget, rule=rule, resolution=resolution)
    _check(plan, given_candidates, budget, rule)
    _check(filled(plan, given_candidates, rule=rule, resolution=resolution), given_candidates, budget, rule)


def _check(plan, given_candidates, budget, rule):
    assert plan.tokens <= max(0, budget)
    for picture in plan.pictures:
        assert rule.tokens(picture.width, picture.height) == picture.tokens
    assert bool(plan.pictures) == bool(given_candidates and budget >= rule.cheapest)
    times = [given_candidates[i].time for i in plan.frames]
    assert times == sorted(times)
    assert plan.dropped == len(given_candidates) - len(plan.frames)
    wholes = [picture.index for picture in plan.pictures if picture.crop == WHOLE]
    assert len(wholes) == len(set(wholes))
    assert set(wholes) == set(plan.frames)
