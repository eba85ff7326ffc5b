"""From a model's own visual tokens to the ones that its language model sees: all stages of LongVU within a budget.

In: tokens of frames, scores for the question, a budget. Out: `TokenMask`. Pure numpy; it knows no torch and no model.
Next: `edge_node/vlm/in_process.py`, which applies the mask before the language model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_node.compress.seam import TokenMask
from edge_node.compress.select import Regime, best_frames, regime, released_full_count
from edge_node.compress.spatial import (
    Grid,
    Mask,
    ReleasedTokens,
    Sameness,
    kept_tokens,
    released_cut,
    shrunk,
    subgrid,
)
from edge_node.compress.temporal import STREAMED, Redundancy, Vectors, batch_frames
from foveate.errors import InvalidInput

_LOW = 8 / 12
"""Side of a frame's low-resolution grid to its full one, as in LongVU."""


def token_mask(
    tokens: Grid,
    *,
    budget: int,
    scores: Sequence[float] | None = None,
    features: Vectors | None = None,
    low: tuple[int, int] | None = None,
    frames: Redundancy = STREAMED,
    same: Sameness | None = None,
) -> TokenMask:
    """The tokens to keep of `tokens` (float, frames × H × W × C, in order of time), at most `budget` of them.

    `scores`: one a frame, for the question; without them, full resolution is spread evenly. `features` (frames ×
    length) tell frames that look alike, by default all tokens of a frame in one vector, as released. `low`: rows and
    columns of a frame at low resolution, by default two thirds of H and W. A budget below one frame at low resolution
    keeps nothing; with any other, at least one frame is kept whole on its grid.
    """
    count, height, width = _shape(tokens)
    grid = low or (max(1, round(height * _LOW)), max(1, round(width * _LOW)))
    coarse = subgrid(height, width, rows=grid[0], columns=grid[1])
    fit = max(0, budget) // (grid[0] * grid[1])
    if not count or not fit:
        return _masked(np.zeros(0, np.intp), np.zeros((0, height, width), np.bool_), coarse, grid, budget)
    vectors = tokens.reshape(count, -1) if features is None else features
    worth = None if scores is None else np.asarray(scores, np.float64)
    # Chosen before any frame is left out, so that scores which do not fit the frames are refused.
    best = best_frames(count, 1, worth)
    kept = batch_frames(_one_each(vectors, count), fit=fit, rule=frames)
    kept = kept if len(kept) else best
    worth = None if worth is None else worth[kept]
    if regime(len(kept), budget=budget, full=height * width, low=int(coarse.sum())) is Regime.LOW:
        mask = _thin(tokens[kept], coarse, budget=budget, same=same or ReleasedTokens(), worth=worth)
    else:
        mask = _mixed(len(kept), coarse, budget=budget, worth=worth)
    return _masked(kept, mask, coarse, grid, budget)


def _mixed(count: int, coarse: Mask, *, budget: int, worth: NDArray[np.float64] | None) -> Mask:
    """The best frames whole, as many as the budget allows, the others on the coarse grid; frames × H × W."""
    full = released_full_count(count, budget=budget, full=coarse.size, low=int(coarse.sum()))
    mask = np.repeat(coarse[None], count, axis=0)
    mask[best_frames(count, full, worth)] = True
    return mask


def _thin(tokens: Grid, coarse: Mask, *, budget: int, same: Sameness, worth: NDArray[np.float64] | None) -> Mask:
    """Stage 4 on the coarse grid, put back in its places on the full one; frames × H × W.

    Where the cut to the budget would leave scraps and no frame whole, as many of the best as fit are whole instead.
    """
    rows, columns = int(coarse.any(axis=1).sum()), int(coarse.any(axis=0).sum())
    small = kept_tokens(shrunk(tokens, rows=rows, columns=columns), same)
    small = released_cut(small, budget=budget, chunk=same.chunk)
    if not small.all(axis=(1, 2)).any():
        small[:] = False
        small[best_frames(len(small), budget // (rows * columns), worth)] = True
    mask = np.zeros((len(tokens), *coarse.shape), np.bool_)
    mask[:, coarse] = small.reshape(len(tokens), -1)
    return mask


def _masked(frames: NDArray[np.intp], mask: Mask, coarse: Mask, low: tuple[int, int], budget: int) -> TokenMask:
    shown = mask.any(axis=(1, 2))
    frames, mask = frames[shown], mask[shown]
    # On a grid that is its own coarse one, every frame is at full resolution.
    full: Mask = np.logical_or((mask & ~coarse).any(axis=(1, 2)), coarse.all())
    return TokenMask(tuple(int(frame) for frame in frames), mask, full, low, budget)


def _shape(tokens: Grid) -> tuple[int, int, int]:
    if tokens.ndim != 4 or 0 in tokens.shape[1:]:
        raise InvalidInput(f"Tokens must be frames x rows x columns x length, not {tokens.shape}.")
    return tokens.shape[0], tokens.shape[1], tokens.shape[2]


def _one_each(vectors: Vectors, count: int) -> Vectors:
    if vectors.ndim != 2 or len(vectors) != count:
        raise InvalidInput(f"There must be one feature vector for each of {count} frames, not {vectors.shape}.")
    return vectors
