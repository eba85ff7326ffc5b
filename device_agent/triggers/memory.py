"""A bounded, slowly forgetting memory of vectors, and how far from it is unusual.

In: unit vectors. Out: their distance (1 - cosine) to the nearest one remembered, and the distance from which on this
camera something is new. It knows no pictures and no clock: it counts looks. Next: `novelty.py`.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

_ALIKE = 0.03  # nearer than this is the same sight again; the INT8 encoder's own noise is about 0.012
_FOLLOW = 0.1  # how far a remembered vector moves towards the same sight seen again
_FORGET = 16  # times its size: a memory that has taken in so many since forgets what did not come again

_WINDOW = 512
_TAIL = 0.8  # distances beyond this quantile are the tail
_ONE_IN = 1000  # looks that may pass the threshold by chance; a camera takes a few hundred a day
_LEAST = 0.15  # no less is new, however calm the camera: gain halved on a calm street gives 0.1 to 0.2, a car 0.4
_WEAR, _WEAR_MOST, _RECOVER = 1.5, 3.0, 0.995  # who cries often must shout louder, for some hundred looks


class Memory:
    """At most `most` vectors. The usual takes one place however often it comes; the longest not seen goes first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: Vector = np.zeros((0, 0), np.float32)
        self._seen: list[int] = []  # for each row, the count of looks when it last came
        self.looks = 0
        """How many were taken in."""

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """What is remembered."""
        return tuple(self._rows[: len(self)])

    def distance(self, vector: Vector) -> float:
        """1 - cosine to the nearest, 0..2; 1 when nothing is remembered."""
        if not self._seen or self._rows.shape[1] != len(vector):
            return 1.0
        return float(1.0 - (self._rows[: len(self._seen)] @ vector).max())

    def take_in(self, vector: Vector) -> None:
        """Remembers it: moves what is alike towards it, else takes a free place or that of the longest not seen."""
        if self._most <= 0:
            return
        if self._rows.shape[1] != len(vector):
            self._rows, self._seen = np.zeros((self._most, len(vector)), np.float32), []
        self.looks += 1
        known = len(self._seen)
        likeness = self._rows[:known] @ vector
        if known and likeness.max() >= 1.0 - _ALIKE:
            place = int(likeness.argmax())
            moved = (1.0 - _FOLLOW) * self._rows[place] + _FOLLOW * vector
            vector = (moved / max(float(np.linalg.norm(moved)), 1e-12)).astype(np.float32)
        else:
            place = self._free(known)
        self._rows[place] = vector
        self._seen[place] = self.looks

    def _free(self, known: int) -> int:
        oldest = int(np.argmin(self._seen)) if known else 0
        if known and (known >= self._most or self.looks - self._seen[oldest] > _FORGET * self._most):
            return oldest
        self._seen.append(0)
        return known


class Threshold:
    """The distance from which on something is new, learned from the distances of late.

    Peaks over a threshold (Pickands 1975) with an exponential tail: the quantile u that one in five passes, plus the
    mean excess over u × ln(chance of u / wanted chance). What fires raises it for a while, so that a camera whose
    distances have a heavier tail than that falls silent instead of crying all day.
    """

    def __init__(self) -> None:
        self._distances: deque[float] = deque(maxlen=_WINDOW)
        self._wear = 1.0

    def __len__(self) -> int:
        return len(self._distances)

    @property
    def level(self) -> float:
        """The threshold now; `_LEAST` while nothing is known."""
        if not self._distances:
            return _LEAST
        seen = np.asarray(self._distances)
        beyond = float(np.quantile(seen, _TAIL))
        excess = seen[seen > beyond] - beyond
        mean = float(excess.mean()) if len(excess) else 0.0
        return self._wear * max(_LEAST, beyond + mean * float(np.log((1.0 - _TAIL) * _ONE_IN)))

    def learn(self, distance: float) -> None:
        """Takes in how far the last look was."""
        self._distances.append(distance)
        self._wear = 1.0 + (self._wear - 1.0) * _RECOVER

    def fired(self) -> None:
        """It cried."""
        self._wear = min(_WEAR_MOST, self._wear * _WEAR)
