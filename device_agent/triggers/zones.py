"""Which of the device's named zones a box stands in.

In: boxes as fractions of the picture. Out: names of zones. It knows no events. Next: `objects.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from device_agent.rules import Point, Zone
from foveate.vision.boxes import Box


class ZoneMap:
    """The zones of one camera."""

    def __init__(self, zones: tuple[Zone, ...]) -> None:
        self._zones = zones

    def under(self, boxes: Iterable[Box]) -> tuple[str, ...]:
        """Names of the zones in which any of the boxes stands: the middle of its lower edge is inside."""
        feet = [(box.left + box.width / 2, box.bottom) for box in boxes]
        return tuple(zone.name for zone in self._zones if any(inside(foot, zone.polygon) for foot in feet))


def inside(point: Point, polygon: tuple[Point, ...]) -> bool:
    """Whether a ray from the point crosses the polygon's edges an odd number of times; False below three corners."""
    across, down = point
    within = False
    for (x0, y0), (x1, y1) in zip(polygon, (*polygon[1:], *polygon[:1]), strict=True):
        if (y0 > down) != (y1 > down) and across < x0 + (down - y0) * (x1 - x0) / (y1 - y0):
            within = not within
    return within
