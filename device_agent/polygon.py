"""Polygons in a picture: which pixels they touch, and whether they enclose anything at all.

In: corners as fractions of the picture's width and height. Out: masks of pixels, areas, crossings. It does not know
what a polygon is for. Next: `masks.py` burns them in, `configure.py` refuses those that enclose nothing.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from device_agent.rules import Point

Side = tuple[Point, Point]

_TINY = 1e-18  # what rounding leaves of zero


def touched(polygon: tuple[Point, ...], *, width: int, height: int) -> NDArray[np.bool_]:
    """height × width: True for every pixel of which the polygon covers any part, however little.

    What any side winds around is inside, so no hole is left where a polygon overlaps itself.
    """
    winding = np.zeros((height, width + 1), np.int16)
    edge = np.zeros((height, width + 1), np.int16)
    for (left, top), (right, bottom) in _sides(polygon):
        start, end = np.array((left * width, top * height)), np.array((right * width, bottom * height))
        _wind(winding, start, end)
        _draw(edge, start, end)
    inside: NDArray[np.bool_] = (np.cumsum(winding, axis=1, out=winding) != 0) | (np.cumsum(edge, axis=1, out=edge) > 0)
    return inside[:, :width]


def area(polygon: tuple[Point, ...]) -> float:
    """The share of the picture that a polygon without crossings encloses."""
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in _sides(polygon))) / 2


def crosses_itself(polygon: tuple[Point, ...]) -> bool:
    """Whether two of its sides cross, as when its corners are not listed in their order around it."""
    return any(_cross(one, other) for one, other in combinations(_sides(polygon), 2))


def _sides(polygon: tuple[Point, ...]) -> list[Side]:
    return list(zip(polygon, (*polygon[1:], polygon[0]), strict=True))


def _wind(winding: NDArray[np.int16], start: NDArray[np.float64], end: NDArray[np.float64]) -> None:
    """Notes, for each row of pixel centres that a side crosses, where and in which direction it does."""
    height, columns = winding.shape
    sign = 1 if end[1] > start[1] else -1
    (x0, y0), (x1, y1) = (start, end) if sign > 0 else (end, start)
    rows = np.arange(max(0, np.ceil(y0 - 0.5)), min(height, np.ceil(y1 - 0.5)), dtype=np.int64)
    if rows.size:
        crossed = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        np.add.at(winding, (rows, np.clip(np.ceil(crossed - 0.5), 0, columns - 1).astype(np.int64)), sign)


def _draw(edge: NDArray[np.int16], start: NDArray[np.float64], end: NDArray[np.float64]) -> None:
    """Notes, for each row of pixels that a side touches, the first column and the one after the last."""
    height, columns = edge.shape
    (x0, y0), (x1, y1) = (start, end) if start[1] <= end[1] else (end, start)
    rows = np.arange(min(height - 1, np.floor(y0)), min(height - 1, np.floor(y1)) + 1, dtype=np.int64)
    slope = (x1 - x0) / (y1 - y0) if y1 > y0 else 0.0
    enter, leave = (np.clip(rows + shift, y0, y1) for shift in (0, 1))
    ends = np.stack((x0 + (enter - y0) * slope, x0 + (leave - y0) * slope if y1 > y0 else np.full(rows.size, x1)))
    first = np.clip(np.floor(ends.min(axis=0)), 0, columns - 2).astype(np.int64)
    last = np.clip(np.floor(ends.max(axis=0)), 0, columns - 2).astype(np.int64)
    np.add.at(edge, (rows, first), 1)
    np.add.at(edge, (rows, last + 1), -1)


def _cross(one: Side, other: Side) -> bool:
    """Whether each side separates the other's ends; sides that only touch do not cross."""
    apart = _turn(*one, other[0]) * _turn(*one, other[1])
    return apart < -_TINY and _turn(*other, one[0]) * _turn(*other, one[1]) < -_TINY


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
