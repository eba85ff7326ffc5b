"""What compression takes and gives: candidates in, an image plan or a token mask out.

In: nothing; types only. Out: `Candidate`, `Planned`, `ImagePlan`, `TokenMask`. Next: `plan.py` and `mask.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from foveate.vision.boxes import Box

WHOLE = Box(0.0, 0.0, 1.0, 1.0)
"""The crop that is the picture itself."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One picture that might be shown; `width` and `height` are the pixels that there are to show.

    `features` is float, one vector of any length (an encoder's pooled features), None when there are none; `score` is
    how well it fits the question, higher is better, on any scale; `boxes` are things of interest in it, best first.
    """

    device_id: str
    time: float
    """Unix seconds."""
    width: int
    height: int
    score: float = 0.0
    features: NDArray[np.float32] | None = field(default=None, repr=False)
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Planned:
    """One picture to show: `crop` of candidate number `index`, resized to `width` × `height` pixels."""

    index: int
    crop: Box
    width: int
    height: int
    tokens: int
    """What it costs by the rule that the plan was made with."""

    @property
    def whole(self) -> bool:
        """Whether the whole picture is shown, not a part of it."""
        return self.crop == WHOLE


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """Which pictures, which parts of them and at what sizes; in order of time, a picture before its crops."""

    pictures: tuple[Planned, ...]
    budget: int
    dropped: int
    """Candidates of which nothing is shown."""

    @property
    def tokens(self) -> int:
        """What the plan costs; never more than its budget."""
        return sum(picture.tokens for picture in self.pictures)

    @property
    def frames(self) -> tuple[int, ...]:
        """The candidates of which something is shown, each once, in order of time."""
        return tuple(dict.fromkeys(picture.index for picture in self.pictures))


@dataclass(frozen=True, slots=True)
class TokenMask:
    """Which tokens of which frames a language model sees.

    `frames` are indices into the frames that were given, increasing; row t of `keep` (bool, frames × H × W, on the
    grid that was given) and of `full` (bool, frames) belongs to `frames[t]`. A frame that is not `full` has a regular
    sub-grid of `low` rows × columns: a backend that can shrink tokens puts `spatial.shrunk` in those places.
    """

    frames: tuple[int, ...]
    keep: NDArray[np.bool_] = field(repr=False)
    full: NDArray[np.bool_] = field(repr=False)
    low: tuple[int, int]
    budget: int

    @property
    def tokens(self) -> int:
        """Tokens kept; never more than the budget."""
        return int(self.keep.sum())

    @property
    def flat(self) -> NDArray[np.intp]:
        """Places of the kept tokens in the given frames × H × W, row by row: what a backend indexes with."""
        rows, columns = self.keep.shape[1:]
        t, y, x = np.nonzero(self.keep)
        places: NDArray[np.intp] = (np.asarray(self.frames, np.intp)[t] * rows + y) * columns + x
        return places
