"""Privacy masks in pictures: nothing under them is left, nothing far from them is touched, and all of it is cheap."""

from __future__ import annotations

import time
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.masks import GREY, Masks
from device_agent.polygon import area, crosses_itself, touched
from device_agent.rules import Mask, Point

TRIANGLE = ((0.1, 0.2), (0.7, 0.3), (0.3, 0.9))
STAR = tuple((0.5 + 0.45 * np.sin(turn), 0.5 - 0.45 * np.cos(turn)) for turn in np.arange(5) * 0.8 * np.pi)
fractions = st.floats(0, 1, allow_nan=False)
polygons = st.lists(st.tuples(fractions, fractions), min_size=3, max_size=7).map(tuple)


def masks(*polygons: tuple[Point, ...]) -> Masks:
    return Masks(tuple(Mask(f"m{number}", polygon) for number, polygon in enumerate(polygons)))


def picture(seed: int = 1, *, width: int = 96, height: int = 72) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def inside(polygon: tuple[Point, ...], x: float, y: float) -> bool:
    """Whether a ray from the point crosses an odd number of sides."""
    crossed = False
    for (x0, y0), (x1, y1) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            crossed = not crossed
    return crossed


@settings(max_examples=100, deadline=None)
@given(polygons, st.lists(st.tuples(fractions, fractions), min_size=30, max_size=30))
def test_whatever_a_polygon_touches_is_covered(polygon: tuple[Point, ...], points: list[Point]) -> None:
    covered = touched(polygon, width=23, height=17)
    on_sides = [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in pairwise(polygon)]
    for x, y in (*polygon, *on_sides, *(point for point in points if inside(polygon, *point))):
        near = {(int(y * 17 + dy), int(x * 23 + dx)) for dy in (-1e-9, 1e-9) for dx in (-1e-9, 1e-9)}
        assert any(covered[min(16, row), min(22, column)] for row, column in near)


@pytest.mark.parametrize(("polygon", "share"), [(TRIANGLE, 0.2), (((0, 0), (1, 0), (1, 1), (0, 1)), 1.0)])
def test_and_hardly_more(polygon: tuple[Point, ...], share: float) -> None:
    covered = touched(polygon, width=400, height=300)
    assert covered.mean() == pytest.approx(area(polygon), abs=0.01)
    assert area(polygon) == pytest.approx(share)


def test_no_hole_is_left_where_a_polygon_overlaps_itself() -> None:
    assert crosses_itself(STAR)
    assert touched(STAR, width=100, height=100)[50, 50]
    assert not crosses_itself(TRIANGLE)


def test_a_burned_picture_tells_nothing_of_what_was_there() -> None:
    hide = masks(TRIANGLE, ((0.8, 0.8), (1, 0.8), (1, 1)))
    hidden = touched(TRIANGLE, width=96, height=72)
    one, other = picture(1), picture(1)
    other[hidden] = picture(2)[hidden]
    kept = one.copy()
    burned = hide.burn(one)
    assert np.array_equal(burned, hide.burn(other))
    assert (burned[hidden] == GREY).all()
    assert (burned[71, 95] == GREY).all()
    assert np.array_equal(one, kept)
    assert np.array_equal(burned[:10, :5], one[:10, :5])
    assert np.array_equal(burned[60:, :20], one[60:, :20])


@pytest.mark.parametrize("layout", ["yuv420p", "yuvj420p", "yuv444p", "nv12", "rgb24"])
@pytest.mark.parametrize(("width", "height"), [(96, 72), (95, 71)])
def test_a_burned_frame_tells_nothing_in_any_layout(layout: str, width: int, height: int) -> None:
    hide, hidden = masks(TRIANGLE), touched(TRIANGLE, width=width, height=height)
    one = picture(1, width=width, height=height)
    other = np.where(hidden[..., None], 255 - one, one)
    planes = []
    for image in (one, other):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(format=layout)
        burned = hide.burn_frame(frame)
        assert burned.format.name == "yuv420p"
        planes.append([_samples(plane) for plane in burned.planes])
    for before, after in zip(*planes, strict=True):
        assert np.array_equal(before, after)
    luma, blue, red = planes[0]
    assert (luma[hidden] == GREY).all()
    rows, columns = np.nonzero(hidden)
    assert (blue[rows // 2, columns // 2] == GREY).all()
    assert (red[rows // 2, columns // 2] == GREY).all()
    assert np.ptp(luma[: height // 8]) > 100


def _samples(plane: av.video.plane.VideoPlane) -> np.ndarray:
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].copy()


@pytest.mark.parametrize("size", [(160, 120), (110, 83), (60, 45)])
def test_a_scaled_picture_tells_nothing_either(size: tuple[int, int]) -> None:
    hide, hidden = masks(TRIANGLE), touched(TRIANGLE, width=160, height=120)
    one = picture(1, width=160, height=120)
    other = np.where(hidden[..., None], 255 - one, one)
    found = []
    for image in (one, other):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(format="yuv420p")
        scaled = frame.reformat(width=size[0], height=size[1], format="rgb24").to_ndarray()
        found.append(hide.burn(scaled))
    assert np.array_equal(*found)


def test_covered_cells_follow_the_light_of_the_others() -> None:
    hide = masks(TRIANGLE)
    grey = picture()[..., 0].astype(np.float32) / 2
    hidden = touched(TRIANGLE, width=96, height=72)
    covered, brighter = hide.cover(grey), hide.cover(grey * 1.5 + 7)
    assert covered[hidden] == pytest.approx(np.median(grey[~hidden]))
    assert brighter[hidden] == pytest.approx(covered[hidden] * 1.5 + 7, rel=1e-4)
    assert np.array_equal(covered[~hidden], grey[~hidden])
    assert not np.array_equal(grey[hidden], covered[hidden])
    everything = masks(((0, 0), (1, 0), (1, 1), (0, 1)))
    assert (everything.cover(grey) == GREY).all()


def test_without_masks_nothing_is_copied() -> None:
    none, image = masks(), picture()
    grey = image[..., 0].astype(np.float32)
    assert not none
    assert masks(TRIANGLE)
    assert masks(TRIANGLE).names == ("m0",)
    assert none.burn(image) is image
    assert none.cover(grey) is grey


def test_burning_takes_a_fraction_of_a_millisecond() -> None:
    hide, image = masks(TRIANGLE, ((0.5, 0.5), (1, 0.5), (1, 1), (0.5, 1))), picture(width=768, height=576)
    hide.burn(image)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        hide.burn(image)
        times.append(time.perf_counter() - began)
    assert min(times) < 2e-3, f"{1e3 * min(times):.2f} ms; the aim on an idle machine is 0.3 ms"
