"""Where a thing should be by now, and how sure that is: a Kalman filter of its centre at constant speed.

In: boxes with their times. Out: the expected centre and its variance. Noise is told in units of the thing's own size
(the square root of its box's area), so the same numbers serve near and far, 1 and 30 pictures per second. It knows
neither looks nor labels. Next: `path.py`.
"""

from __future__ import annotations

import math

from foveate.vision.boxes import Box

_JITTER = 0.12  # of its size: how far a detector's boxes dance around a thing that stands still
_PUSH = 1.0  # sizes per second²: how hard people and cars speed up, turn and stop
_BRISK = 1.5  # sizes per second: the speed of a person who walks is 1.3

AHEAD_S = 2.0
"""Nobody keeps a speed for longer; the doubt about the place grows no further either."""


class Course:
    """The centre and speed of one thing; times must not run backwards."""

    __slots__ = ("_blur", "_drift", "_mixed", "_speed", "_time", "size", "x", "y")

    def __init__(self, time: float, box: Box) -> None:
        self._time = time
        self.x, self.y = centre(box)
        self.size = _size(box)
        self._speed = (0.0, 0.0)
        # Variances in sizes²: of the place, of the speed, and what both have in common.
        self._blur, self._drift, self._mixed = _JITTER**2, _BRISK**2, 0.0

    def ahead(self, time: float) -> tuple[float, float, float]:
        """(x, y, variance of what would be seen there, in sizes²) at `time`; fractions of the picture."""
        passed = min(max(time - self._time, 0.0), AHEAD_S)
        blur = self._predicted(passed)[0] + _JITTER**2
        return self.x + self._speed[0] * passed, self.y + self._speed[1] * passed, blur

    def update(self, time: float, box: Box) -> None:
        """It was seen in `box`."""
        passed = min(max(time - self._time, 0.0), AHEAD_S)
        x, y, total = self.ahead(time)
        blur, drift, mixed = self._predicted(passed)
        place, pace = blur / total, mixed / total
        seen_x, seen_y = centre(box)
        off_x, off_y = seen_x - x, seen_y - y
        self.x, self.y = x + place * off_x, y + place * off_y
        self._speed = (self._speed[0] + pace * off_x, self._speed[1] + pace * off_y)
        self._blur, self._drift, self._mixed = (1 - place) * blur, drift - pace * mixed, (1 - place) * mixed
        self.size += place * (_size(box) - self.size)
        self._time = time

    def _predicted(self, passed: float) -> tuple[float, float, float]:
        """Variances after `passed` seconds; a push of random strength holds throughout (white acceleration)."""
        push = _PUSH**2
        blur = self._blur + 2 * passed * self._mixed + passed**2 * self._drift + push * passed**4 / 4
        return blur, self._drift + push * passed**2, self._mixed + passed * self._drift + push * passed**3 / 2


def centre(box: Box) -> tuple[float, float]:
    """The middle of a box, in fractions of the picture."""
    return box.left + box.width / 2, box.top + box.height / 2


def _size(box: Box) -> float:
    return max(math.sqrt(box.area), 1e-6)
