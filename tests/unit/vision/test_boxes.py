"""Boxes: fractions of a picture that stay on it, whatever they are asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveate.vision.boxes import Box

fractions = st.floats(-2.0, 2.0, allow_nan=False)
extents = st.just(0.0) | st.floats(1e-4, 2.0, allow_nan=False)
boxes = st.builds(Box, fractions, fractions, extents, extents)
sizes = st.integers(1, 5000)


def test_iou_of_a_half_overlap() -> None:
    assert Box(0.0, 0.0, 0.4, 0.4).iou(Box(0.2, 0.0, 0.4, 0.4)) == pytest.approx(1 / 3)


def test_boxes_that_only_touch_share_nothing() -> None:
    assert Box(0.0, 0.0, 0.5, 0.5).iou(Box(0.5, 0.0, 0.5, 0.5)) == 0.0


def test_boxes_without_area_have_no_overlap() -> None:
    point = Box(0.5, 0.5, 0.0, 0.0)
    assert point.iou(point) == 0.0


@given(first=boxes, second=boxes)
def test_iou_is_symmetric_and_a_fraction(first: Box, second: Box) -> None:
    assert first.iou(second) == second.iou(first)
    assert 0.0 <= first.iou(second) <= 1.0 + 1e-6


@given(box=boxes)
def test_a_clipped_box_lies_on_the_picture(box: Box) -> None:
    inside = box.clipped()
    assert 0.0 <= inside.left <= inside.right <= 1.0 + 1e-9
    assert 0.0 <= inside.top <= inside.bottom <= 1.0 + 1e-9


def test_a_box_beside_the_picture_has_no_extent_on_it() -> None:
    assert Box(1.5, 0.2, 0.3, 0.3).clipped().area == 0.0
    left, _, right, _ = Box(1.5, 0.2, 0.3, 0.3).to_pixels(width=100, height=100)
    assert left == right


def test_expanding_grows_each_side_by_its_own_share_and_stops_at_the_edge() -> None:
    grown = Box(0.4, 0.0, 0.2, 0.5).expanded(0.1)
    assert [grown.left, grown.right] == pytest.approx([0.38, 0.62])
    assert [grown.top, grown.bottom] == pytest.approx([0.0, 0.55])


@given(box=boxes, width=sizes, height=sizes)
def test_pixels_stay_on_the_picture_and_are_never_empty_for_a_visible_box(box: Box, width: int, height: int) -> None:
    left, top, right, bottom = box.to_pixels(width=width, height=height)
    assert 0 <= left <= right <= width
    assert 0 <= top <= bottom <= height
    inside = box.clipped()
    if inside.right > inside.left:
        assert right > left
    if inside.bottom > inside.top:
        assert bottom > top
