"""Redaction: inside only means of blocks, outside nothing changes, and overlaps hide everything they cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveate.errors import InvalidInput
from foveate.vision.boxes import Box
from foveate.vision.detect import Picture
from foveate.vision.redact import redact


def noise(height: int = 60, width: int = 80, *, seed: int = 7) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def covered(box: Box, *, width: int, height: int) -> tuple[slice, slice]:
    left, top, right, bottom = box.to_pixels(width=width, height=height)
    return slice(top, bottom), slice(left, right)


def test_pixels_inside_are_the_means_of_their_blocks() -> None:
    picture = noise(64, 64)
    hidden = redact(picture, [Box(0.25, 0.25, 0.5, 0.5)], blocks=4, margin=0.0)
    for top in range(16, 48, 8):
        for left in range(16, 48, 8):
            block = picture[top : top + 8, left : left + 8].reshape(-1, 3).astype(np.int64)
            expected = np.broadcast_to(block.sum(axis=0) // len(block), (8, 8, 3))
            np.testing.assert_array_equal(hidden[top : top + 8, left : left + 8], expected)


def test_the_last_blocks_are_smaller_and_still_means() -> None:
    picture = noise(10, 10)
    hidden = redact(picture, [Box(0.0, 0.0, 1.0, 1.0)], blocks=3, margin=0.0)
    corner = picture[8:, 8:].reshape(-1, 3).astype(np.int64)
    assert (hidden[8:, 8:] == corner.sum(axis=0) // len(corner)).all()


def test_outside_nothing_changes_and_the_original_stays() -> None:
    picture = noise()
    before = picture.copy()
    box = Box(0.3, 0.3, 0.2, 0.4)
    hidden = redact(picture, [box])
    outside = np.ones(picture.shape[:2], bool)
    outside[covered(box.expanded(0.1), width=80, height=60)] = False
    np.testing.assert_array_equal(hidden[outside], picture[outside])
    np.testing.assert_array_equal(picture, before)
    assert (hidden[~outside] != picture[~outside]).any()


def test_the_margin_hides_more_than_the_box() -> None:
    picture = noise()
    hidden = redact(picture, [Box(0.5, 0.5, 0.25, 0.25)], margin=0.2)
    assert (hidden[27:30, 36:40] != picture[27:30, 36:40]).any()


def test_where_boxes_overlap_no_pixel_of_either_shows() -> None:
    picture = noise(64, 64)
    first, second = Box(0.0, 0.0, 0.5, 0.5), Box(0.25, 0.25, 0.5, 0.5)
    hidden = redact(picture, [first, second], blocks=2, margin=0.0)
    # The second box: four blocks of one colour each, mixed from what the first had already hidden.
    for top, left in ((16, 16), (16, 32), (32, 16), (32, 32)):
        assert len(np.unique(hidden[top : top + 16, left : left + 16].reshape(-1, 3), axis=0)) == 1
    once = redact(picture, [first], blocks=2, margin=0.0)
    np.testing.assert_array_equal(hidden, redact(once, [second], blocks=2, margin=0.0))
    np.testing.assert_array_equal(hidden[:16, :32], once[:16, :32])


def test_no_box_is_a_copy() -> None:
    picture = noise()
    hidden = redact(picture, [])
    np.testing.assert_array_equal(hidden, picture)
    assert not np.shares_memory(hidden, picture)


def test_a_box_beside_the_picture_hides_nothing() -> None:
    picture = noise()
    np.testing.assert_array_equal(redact(picture, [Box(1.2, 1.2, 0.3, 0.3)]), picture)


@settings(max_examples=60)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    box=st.builds(Box, st.floats(-0.5, 1.2), st.floats(-0.5, 1.2), st.floats(0.001, 1.0), st.floats(0.001, 1.0)),
    blocks=st.integers(1, 12),
)
def test_few_colours_survive_in_any_box(height: int, width: int, box: Box, blocks: int) -> None:
    hidden = redact(noise(height, width), [box], blocks=blocks)
    assert hidden.shape == (height, width, 3)
    inside = hidden[covered(box.expanded(0.1), width=width, height=height)].reshape(-1, 3)
    assert len(np.unique(inside, axis=0)) <= blocks * blocks


def test_a_grey_picture_is_refused() -> None:
    with pytest.raises(InvalidInput, match="RGB"):
        redact(np.zeros((4, 4), np.uint8), [])
