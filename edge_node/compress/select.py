"""Stage 3 of LongVU: which frames are shown at full resolution, by how well they fit the question.

In: the number of frames, a budget, scores. Out: a regime, a number of frames, their indices. The paper's Equation 1
and the released code count the budget differently; both are named. It knows no pixels. Next: `spatial.py`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_node.compress.temporal import thinned
from foveate.errors import InvalidInput

FULL_TOKENS, LOW_TOKENS = 144, 64
"""Tokens of a frame: 12 × 12, and 8 × 8."""

Floats = NDArray[np.floating[Any]]


class Regime(enum.Enum):
    """What a number of frames means for a budget."""

    FULL = "full"
    """All at full resolution."""
    MIXED = "mixed"
    """All at low resolution, the best ones at full."""
    LOW = "low"
    """All at low resolution, and still too many: on to stage 4."""


def regime(frames: int, *, budget: int, full: int = FULL_TOKENS, low: int = LOW_TOKENS) -> Regime:
    """The released code's: below `budget // full` frames FULL, above `budget // low` LOW, else MIXED."""
    _check(full, low)
    if frames < budget // full:
        return Regime.FULL
    return Regime.LOW if frames > budget // low else Regime.MIXED


def released_full_count(frames: int, *, budget: int, full: int = FULL_TOKENS, low: int = LOW_TOKENS) -> int:
    """The released code's Nh = floor((budget - frames low) / (full - low)), within 0 and `frames`.

    `budget` is what is left for pictures, after text and what the answer needs.
    """
    _check(full, low)
    if full == low:
        return min(frames, budget // full)
    return min(max(0, (budget - frames * low) // (full - low)), frames)


def paper_full_count(frames: int, *, context: int, text: int, full: int = FULL_TOKENS, low: int = LOW_TOKENS) -> int:
    """The paper's Equation 1, Nh = max(0, (Lmax - Lq - T Hl Wl) / (Hh Wh - Hl Wl)), whole frames, at most `frames`.

    `context` is Lmax, all that the model takes; `text` is Lq, the question's tokens.
    """
    return released_full_count(frames, budget=context - text, full=full, low=low)


def released_scores(visual: Floats, text: Floats) -> NDArray[np.float64]:
    """One score a frame: the mean raw dot product of its tokens (frames × tokens × C) with the text's (tokens × C).

    As released: no norm and no softmax, so long vectors count more.
    """
    # The mean over all pairs is the product of the two means.
    means = visual.astype(np.float64).mean(axis=1)
    scores: NDArray[np.float64] = means @ text.astype(np.float64).mean(axis=0)
    return scores


def cosine_scores(pictures: Floats, text: Floats) -> NDArray[np.float64]:
    """One cosine a frame, of vectors frames × C with the question's (C): for ConSE pictures and MiniLM questions."""
    wide, question = pictures.astype(np.float64), text.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(question)
    cosines: NDArray[np.float64] = (wide @ question) / np.maximum(lengths, 1e-12)
    return cosines


def best_frames(frames: int, count: int, scores: Sequence[float] | Floats | None = None) -> NDArray[np.intp]:
    """Indices of the `count` best frames in order of time, the earlier of equals; evenly spread without scores."""
    count = min(max(0, count), frames)
    if scores is None:
        return thinned(frames, count)
    worth = np.asarray(scores, np.float64)
    if worth.shape != (frames,) or np.isnan(worth).any():
        raise InvalidInput(f"There must be one score for each of {frames} frames, not {worth.shape} or unknown ones.")
    return np.sort(np.argsort(-worth, kind="stable")[:count])


def _check(full: int, low: int) -> None:
    if not 0 < low <= full:
        raise InvalidInput(f"A frame at low resolution costs 1 to {full} tokens, not {low}.")
