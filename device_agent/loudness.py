"""How loud it is, how loud it usually is, and whether something rose suddenly: arithmetic on samples, no network.

In: stretches of 16 kHz mono, each a whole number of chunks of 32 ms. Out: `Measured` for each. It does not know what
sounds: a door, a shot and a shout are all onsets, since no general sound-event model is carried. Next: `hear.py`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foveate.hearing import CHUNK, RATE_HZ, Sound

QUIETEST_DB = -70.0
"""Below this all is silence: many cameras gate their microphone, and hiss after digital zero is no event."""

Levels = NDArray[np.float64]

_EDGES_HZ = (60, 200, 400, 800, 1600, 3200, 8000)  # glass breaks above the rumble that hides it in the total
_CHUNK_S = CHUNK / RATE_HZ
# The usual level is the one that 9 of 10 chunks exceed; it follows a room 20 dB louder in 20 s, a quieter one in 2 s.
_FLOOR_UP, _FLOOR_DOWN = 1.0 * _CHUNK_S, 9.0 * _CHUNK_S
# The loud level is what sounds for some two seconds in all, so that the fortieth stroke of a hammer is no news and
# the second bang of a door is; it is forgotten by 20 dB in a minute.
_LOUD_UP, _LOUD_SHARE, _LOUD_DOWN = 3.0 * _CHUNK_S, 0.02, 0.3 * _CHUNK_S
_NEAR = 8  # chunks before the last one: what comes slower than in 0.25 s is no onset
_WINDOW = np.hanning(2 * CHUNK + 1)[:-1]
_BINS = np.searchsorted(np.fft.rfftfreq(2 * CHUNK, 1 / RATE_HZ), _EDGES_HZ)


@dataclass(frozen=True, slots=True)
class Measured:
    """Decibels below a full-scale square wave (a full-scale sine has -3), from 60 Hz up, never below QUIETEST_DB."""

    level_db: float
    floor_db: float
    onset: bool


class Loudness:
    """Follows the level of six bands and of the whole; an onset is a sudden rise of any of them.

    It rises by `onset_db` over the usual level, by half of that over what is loud here anyhow, and by half of that
    over the quarter of a second before.
    """

    def __init__(self, *, onset_db: float) -> None:
        self._onset_db = onset_db
        self._floor: Levels | None = None
        self._loud: Levels | None = None
        self._near: deque[Levels] = deque(maxlen=_NEAR)
        self._before = np.zeros(CHUNK, np.float32)

    def measure(self, sound: Sound) -> Measured:
        """What one stretch adds; `sound` holds n × CHUNK finite samples, n >= 1."""
        powers = self._powers(sound.reshape(-1, CHUNK))
        levels = _decibels(powers)
        if self._floor is None or self._loud is None:
            self._floor, self._loud = np.quantile(levels, 0.1, axis=0), np.quantile(levels, 0.97, axis=0)
        onset = False
        for level in levels:
            onset = self._rose(level, self._floor, self._loud) or onset
            self._near.append(level)
            self._floor += np.clip(level - self._floor, -_FLOOR_DOWN, _FLOOR_UP)
            above = level - self._loud
            self._loud += np.where(above > 0, np.minimum(above, _LOUD_UP + _LOUD_SHARE * above), -_LOUD_DOWN)
            np.maximum(self._loud, self._floor, out=self._loud)
        return Measured(float(_decibels(powers[:, -1].mean())), float(self._floor[-1]), onset)

    def interrupt(self) -> None:
        """What follows does not continue what was; the room's usual level stays."""
        self._near.clear()
        self._before = np.zeros(CHUNK, np.float32)

    def _rose(self, level: Levels, floor: Levels, loud: Levels) -> bool:
        if len(self._near) < _NEAR:
            return False
        # Not the chunk just before, over which an attack may spread.
        near = np.max([self._near[index] for index in range(_NEAR - 1)], axis=0)
        half = self._onset_db / 2
        return bool(np.any((level >= floor + self._onset_db) & (level >= loud + half) & (level >= near + half)))

    def _powers(self, chunks: Sound) -> Levels:
        """chunks × 7 of mean squares: six bands and their sum, under windows that overlap by half."""
        before = np.concatenate([self._before[None], chunks[:-1]])
        self._before = chunks[-1].copy()
        spectrum = np.abs(np.fft.rfft(np.concatenate([before, chunks], axis=1) * _WINDOW)) ** 2
        scale = 2.0 / (2 * CHUNK * float((_WINDOW**2).sum()))
        bands = np.add.reduceat(spectrum[:, : _BINS[-1]], _BINS[:-1], axis=1) * scale
        return np.concatenate([bands, bands.sum(axis=1, keepdims=True)], axis=1)


def _decibels(powers: Levels) -> Levels:
    levels: Levels = np.maximum(QUIETEST_DB, 10 * np.log10(np.maximum(powers, 1e-12)))
    return levels
