"""Rung 2: what changed in a picture, from its luma at low resolution against a background learned on the way.

In: a grey picture of WIDTH × HEIGHT cells and its time. Out: a `Change`. Exposure and daylight are fitted away, each
cell learns its own noise (sensor, rain, leaves, a shaking mast), what comes to rest becomes background, and a camera
that itself moves is told as such. It knows no objects. Next: `look.py`, which wakes the encoder and the detector.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from device_agent.view import Change
from foveate.vision.boxes import Box

WIDTH, HEIGHT = 80, 45
"""Cells: one covers about a third of what a distant person does."""

_SPREAD = (0.7, 8.0)  # grey levels of a cell's own noise, least and most
_DEVIATIONS, _MARGIN, _RELATIVE = 4.5, 3.0, 0.04
_LIGHT_RELATIVE = 0.08  # while the exposure changes, since bright cells saturate
_LIGHT_STEP = (0.04, 3.0)  # of the gain, and grey levels of the offset
_CLOSELY_EVERY = 3  # pictures that are as before, between two that are learned from
_LEARN_S = 15.0  # how fast quiet cells follow
_NOISE_RATE, _FLICKER_RATE = 0.05, 0.012
_ABSORB_S, _ABSORB_LOOKS = 20.0, 4  # rest for so long, in so many pictures, makes a cell background
_GLOBAL = 0.5  # of the cells: more is no object
_ROVING_PICTURES, _STEADY_S = 3, 3.0
_STEADY = 0.15
_LEAST_CELLS, _LEAST_WEIGHT = 2, 3.5
_STIRRED_CELLS = 2
_MOST_REGIONS = 16
_CUT_LEVEL, _CUT_SHARE, _CUT_LIKENESS = 12.0, 0.6, 0.4
_BREAK_S = 15 * 60.0  # two pictures further apart share no exposure that could be fitted

Grey = NDArray[np.float32]


class Background:
    """The background of one camera, and what differs from it."""

    def __init__(self) -> None:
        self._mean: Grey | None = None
        self._before: Grey = np.zeros((HEIGHT, WIDTH), np.float32)
        self._spread: Grey = np.zeros((HEIGHT, WIDTH), np.float32)
        self._rest_since = np.zeros((HEIGHT, WIDTH))
        self._rest_looks = np.zeros((HEIGHT, WIDTH), np.int32)
        self._time = self._learned = -math.inf
        self._tolerance: Grey | None = None  # of the last picture in which nothing differed
        self._unchanged = 0
        self._global = 0
        self._unsteady_at = -math.inf
        self.roving = False
        """Whether the camera itself moves, so that there is no background."""

    def compare(self, grey: Grey, time: float) -> Change:
        """What changed since the background was learned; learns from the picture. `grey` is 0..255, HEIGHT × WIDTH."""
        if self._mean is None or time < self._time or time - self._time > _BREAK_S:
            self._begin(grey, time)
            return Change(0.0)
        if self._as_before(grey):
            self._time = time
            return Change(0.0)
        light = self._relight(grey)
        if cut(self._before, grey):
            self._begin(grey, time)
            return Change(math.inf, cut=True)
        passed, self._time, self._learned = time - self._learned, time, time
        relative = _LIGHT_RELATIVE if light else _RELATIVE
        allowed = _MARGIN + _DEVIATIONS * self._spread + relative * np.maximum(self._mean, 0.0)
        tolerance: Grey = allowed.astype(np.float32, copy=False)
        self._unchanged = 0
        off = np.abs(grey - self._mean)
        hit = off > tolerance
        self._tolerance = None if light or hit.any() else tolerance
        stirred = np.abs(grey - self._before) > tolerance
        self._before = grey
        if self._roves(hit, stirred, time):
            self._mean = grey.copy()
            return Change(float((off / tolerance).mean()), light=light, roving=True)
        self._learn(grey, off, hit, passed)
        self._absorb(grey, hit, stirred, time)
        if hit.mean() > _GLOBAL:
            return Change(
                float((off / tolerance).mean()), regions=() if light else (Box(0.0, 0.0, 1.0, 1.0),), light=light
            )
        moving, resting, level = _regions(hit, stirred, off / tolerance)
        return Change(level, regions=moving, resting=resting, light=light and not moving)

    def _as_before(self, grey: Grey) -> bool:
        """Whether nothing differs from the background as it was: most pictures, for which that is all it takes.

        Every few pictures it looks closely all the same, so that light, noise and the background are followed.
        """
        if self._tolerance is None or self._mean is None or self._unchanged >= _CLOSELY_EVERY:
            return False
        if (np.abs(grey - self._mean) > self._tolerance).any():
            return False
        self._unchanged += 1
        self._before = grey
        return True

    def forget(self) -> None:
        """Begins anew with the next picture: the camera was turned, or another stream began."""
        self._mean = None

    def _begin(self, grey: Grey, time: float) -> None:
        self._mean, self._before, self._time, self._learned = grey.copy(), grey, time, time
        self._tolerance = None
        self._spread.fill(2.0)
        self._rest_since.fill(time)
        self._rest_looks.fill(0)
        self._global, self._unsteady_at, self.roving = 0, time, False

    def _relight(self, grey: Grey) -> bool:
        """Brings background and last picture to this one's exposure; returns whether it stepped."""
        assert self._mean is not None
        # Every fourth cell tells the light as well as all of them.
        gain, offset = exposure(self._mean[::2, ::2], grey[::2, ::2], self._spread[::2, ::2])
        self._mean = np.float32(gain) * self._mean + np.float32(offset)
        self._before = np.float32(gain) * self._before + np.float32(offset)
        self._spread = np.clip(self._spread * min(max(gain, 0.8), 1.25), *_SPREAD)
        return abs(gain - 1.0) > _LIGHT_STEP[0] or abs(offset) > _LIGHT_STEP[1]

    def _roves(self, hit: NDArray[np.bool_], stirred: NDArray[np.bool_], time: float) -> bool:
        """Whether most cells differ from background and last picture, again and again: then the camera moves."""
        shaken = float(stirred.mean())
        self._global = self._global + 1 if shaken > _GLOBAL and hit.mean() > _GLOBAL else 0
        if self._global >= _ROVING_PICTURES:
            self.roving = True
        if shaken > _STEADY:
            self._unsteady_at = time
        if self.roving and time - self._unsteady_at > _STEADY_S:
            self.roving = False
        return self.roving

    def _learn(self, grey: Grey, off: Grey, hit: NDArray[np.bool_], passed: float) -> None:
        assert self._mean is not None
        share = max(0.04, 1.0 - math.exp(-passed / _LEARN_S))
        self._mean += np.where(hit, 0.0, share) * (grey - self._mean)
        # 1.25: from mean absolute to standard deviation. What flickers for minutes is in the end no news.
        rate = np.where(hit, _FLICKER_RATE, _NOISE_RATE)
        self._spread = np.clip(self._spread + rate * (1.25 * np.minimum(off, 40.0) - self._spread), *_SPREAD)

    def _absorb(self, grey: Grey, hit: NDArray[np.bool_], stirred: NDArray[np.bool_], time: float) -> None:
        """What came to rest becomes background."""
        assert self._mean is not None
        self._rest_since[stirred | ~hit] = time
        self._rest_looks = np.where(stirred | ~hit, 0, self._rest_looks + 1)
        if not self._rest_looks.max() >= _ABSORB_LOOKS:
            return
        rested = hit & (time - self._rest_since >= _ABSORB_S) & (self._rest_looks >= _ABSORB_LOOKS)
        self._mean[rested] = grey[rested]


def exposure(background: Grey, grey: Grey, spread: Grey) -> tuple[float, float]:
    """(gain, offset) that bring the background to the picture's light: least squares over the cells that agree.

    Starts from the ratio of medians and drops what lies outside three medians of the residual, twice, so that an
    object that covers less than half of the picture does not count.
    """
    usable = (grey < 250.0) & (grey > 4.0)
    one, two, noise = background[usable], grey[usable], spread[usable]
    gain, offset = 1.0, 0.0
    if one.size < 0.2 * grey.size:
        return gain, offset
    gain = float(np.clip((np.median(two) + 1.0) / (np.median(one) + 1.0), 0.2, 5.0))
    for _ in range(2):
        rest = np.abs(two - gain * one - offset)
        agreed = rest <= 3.0 * np.median(rest) + noise
        was, now = one[agreed], two[agreed]
        if was.size < 0.2 * grey.size:
            break
        middle, level = was.mean(), now.mean()
        varied = float(np.square(was - middle).mean())
        if varied < 4.0:
            return 1.0, float(np.median(now - was))
        gain = float(np.clip(((was - middle) * (now - level)).mean() / varied, 0.2, 5.0))
        offset = float(level - gain * middle)
    return gain, offset


def cut(before: Grey, grey: Grey) -> bool:
    """Whether one picture has little to do with the other: change nearly everywhere, and no likeness in its pattern."""
    if float((np.abs(grey - before) > _CUT_LEVEL).mean()) < _CUT_SHARE:
        return False
    one, two = before - before.mean(), grey - grey.mean()
    size = float(np.sqrt((one * one).sum() * (two * two).sum()))
    return size == 0.0 or float((one * two).sum()) / size < _CUT_LIKENESS


def _regions(
    hit: NDArray[np.bool_], stirred: NDArray[np.bool_], strength: Grey
) -> tuple[tuple[Box, ...], tuple[Box, ...], float]:
    """Connected changes as boxes, those that stir and those that rest, heaviest first, and the greatest strength."""
    moving: list[tuple[float, Box]] = []
    resting: list[tuple[float, Box]] = []
    level = 0.0
    for rows, columns in _connected(hit):
        weight = float(np.minimum(strength[rows, columns], 4.0).sum())
        if len(rows) < _LEAST_CELLS or weight < _LEAST_WEIGHT:
            continue
        box = _box(rows, columns)
        if int(stirred[rows, columns].sum()) >= min(_STIRRED_CELLS, len(rows)):
            moving.append((weight, box))
            level = max(level, float(strength[rows, columns].max()))
        else:
            resting.append((weight, box))
    return _heaviest(moving), _heaviest(resting), level


def _heaviest(found: list[tuple[float, Box]]) -> tuple[Box, ...]:
    return tuple(box for _, box in sorted(found, key=lambda item: -item[0])[:_MOST_REGIONS])


def _box(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Box:
    left, top = int(columns.min()), int(rows.min())
    return Box(
        left / WIDTH, top / HEIGHT, (int(columns.max()) + 1 - left) / WIDTH, (int(rows.max()) + 1 - top) / HEIGHT
    )


def _connected(hit: NDArray[np.bool_]) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Groups of cells that touch, corners included."""
    left = {(int(row), int(column)) for row, column in zip(*np.nonzero(hit), strict=True)}
    groups = []
    while left:
        group, edge = [], [left.pop()]
        while edge:
            row, column = edge.pop()
            group.append((row, column))
            near = [(row + down, column + across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
            touched = [cell for cell in near if cell in left]
            left.difference_update(touched)
            edge += touched
        rows, columns = np.array(group, np.intp).T
        groups.append((rows, columns))
    return groups
