"""The cheapest rung of looking: does anything move, and did the scene change altogether?

In: two small grey pictures in a row. Out: a `Motion`. It knows no objects; a change of light that dims the whole
picture is not motion. Next: `look.py`, which wakes the detector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 64, 36
"""Cells of the grey picture: one covers about what a distant person does."""

_BUSY_SHARE = 0.03  # of the cells: motion is local, so the mean over all would drown it
_FLOOR = (0.6, 8.0)  # grey levels; a noisy night camera lies near the top
_FACTOR, _MARGIN = 2.0, 1.5
_QUIET_RATE, _BUSY_RATE = 0.1, 0.01  # how fast the floor follows: a lasting flicker is in the end no news
_CUT_LEVEL, _CUT_LIKENESS = 20.0, 0.4


@dataclass(frozen=True, slots=True)
class Motion:
    """`level` in grey levels of the busiest cells, whether that is above the noise, and whether the scene was cut."""

    level: float
    moving: bool
    cut: bool


class MotionGate:
    """Mean absolute difference of the busiest cells against a noise floor that adapts."""

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None
        self._floor = _FLOOR[0]

    def feel(self, grey: NDArray[np.float32]) -> Motion:
        """The motion since the picture before; the first one moves, so that it is looked at."""
        before, self._before = self._before, grey
        if before is None:
            return Motion(0.0, moving=True, cut=False)
        change = grey - before
        # Automatic exposure shifts every cell alike; the median takes that out.
        local = np.abs(change - np.median(change)).ravel()
        busiest = max(1, round(local.size * _BUSY_SHARE))
        level = float(np.partition(local, -busiest)[-busiest:].mean())
        moving = level > _FACTOR * self._floor + _MARGIN
        rate = _BUSY_RATE if moving else _QUIET_RATE
        self._floor = float(np.clip(self._floor + rate * (level - self._floor), *_FLOOR))
        return Motion(level, moving, cut=_cut(before, grey))


def _cut(before: NDArray[np.float32], grey: NDArray[np.float32]) -> bool:
    """Whether one picture has little to do with the other: much change, and no likeness in its pattern."""
    if float(np.abs(grey - before).mean()) < _CUT_LEVEL:
        return False
    one, two = before - before.mean(), grey - grey.mean()
    size = float(np.sqrt((one * one).sum() * (two * two).sum()))
    return size == 0.0 or float((one * two).sum()) / size < _CUT_LIKENESS
