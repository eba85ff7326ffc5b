"""A box on a picture, as fractions of the picture, so that it stays right when the picture is resized.

In: numbers. Out: `Box`. It knows nothing of pictures or networks and imports no third party, because the
wire's messages carry it. Next: `detect.py`, which makes boxes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-parallel box; every field is a fraction of the picture's width or height, origin top left."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def area(self) -> float:
        """The share of the picture that the box covers; 0 for a box without extent."""
        return max(0.0, self.width) * max(0.0, self.height)

    def iou(self, other: Box) -> float:
        """Intersection over union, 0..1; 0 when neither box has an area."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        shared = max(0.0, across) * max(0.0, down)
        union = self.area + other.area - shared
        return shared / union if union > 0.0 else 0.0

    def clipped(self) -> Box:
        """The part of the box that lies on the picture; without extent when nothing does."""
        left, top = min(max(self.left, 0.0), 1.0), min(max(self.top, 0.0), 1.0)
        right, bottom = min(max(self.right, left), 1.0), min(max(self.bottom, top), 1.0)
        return Box(left, top, right - left, bottom - top)

    def expanded(self, margin: float) -> Box:
        """Grown on every side by `margin` × its own width or height, then clipped to the picture."""
        across, down = margin * self.width, margin * self.height
        grown = Box(self.left - across, self.top - down, self.width + 2 * across, self.height + 2 * down)
        return grown.clipped()

    def to_pixels(self, *, width: int, height: int) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in whole pixels of a `width` × `height` picture; the last two exclusive.

        Rounded to the nearest pixel edge and clipped; empty only when the box has no extent on the picture.
        """
        box = self.clipped()
        left, right = _edges(box.left, box.right, width)
        top, bottom = _edges(box.top, box.bottom, height)
        return left, top, right, bottom


def _edges(low: float, high: float, size: int) -> tuple[int, int]:
    first, last = round(low * size), round(high * size)
    if first == last and high > low:
        first = min(first, size - 1)
        last = first + 1
    return first, last
