"""Ways to take frames that look at nothing: what LongVU has to beat.

In: how many frames there are and how many may be kept. Out: indices, increasing. Next: `plan.py`, which fills up with
them, and `bench/compress.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def uniform(count: int, most: int) -> NDArray[np.intp]:
    """`most` of `count` frames, each the middle of an equal share of the time."""
    if most >= count:
        return np.arange(count)
    return ((np.arange(most) * 2 + 1) * count // (2 * max(most, 1))).astype(np.intp)


def last(count: int, most: int) -> NDArray[np.intp]:
    """The newest `most` frames: on questions about now, hard to beat (SimpleStream, arXiv:2604.02317)."""
    return np.arange(max(0, count - max(0, most)), count)
