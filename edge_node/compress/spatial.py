"""Stage 4 of LongVU: of tokens that stay as they were at the start of their chunk, only the first is kept.

In: tokens, frames × H × W × C. Out: which stay. The paper keeps a token whose likeness equals the threshold, the
released code drops it: `PaperTokens`, `ReleasedTokens`. It knows no question. Next: `mask.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foveate.errors import InvalidInput

Grid = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


class Sameness(Protocol):
    """A rule for the tokens of one frame against those of its chunk's first."""

    @property
    def chunk(self) -> int:
        """Frames in a chunk; the first is kept whole."""
        ...

    def keep(self, first: Grid, other: Grid) -> Mask:
        """Which tokens of `other` stay, bool H × W, both H × W × C."""
        ...


@dataclass(frozen=True, slots=True)
class PaperTokens:
    """The paper's: a token stays iff its cosine with the first frame's at that place is <= the threshold (0.8)."""

    threshold: float = 0.8
    chunk: int = 8

    def keep(self, first: Grid, other: Grid) -> Mask:
        """Bool H × W."""
        kept: Mask = _cosines(first, other) <= self.threshold
        return kept


@dataclass(frozen=True, slots=True)
class ReleasedTokens:
    """The released code's: a token stays iff its cosine is < the threshold.

    0.8 in training, 0.7 when nothing is configured; 0.65, 0.77 and 0.8 in the evaluations.
    """

    threshold: float = 0.8
    chunk: int = 8

    def keep(self, first: Grid, other: Grid) -> Mask:
        """Bool H × W."""
        kept: Mask = _cosines(first, other) < self.threshold
        return kept


class StreamedTokens:
    """Stage 4 on a stream: each frame's mask at once, since it needs no frame after it.

    The state is one frame's tokens. With `most`, a chunk keeps so many tokens and loses its tail, as when a budget is
    cut from the tail of every chunk.
    """

    def __init__(self, rule: Sameness, *, most: int | None = None) -> None:
        _check_rule(rule)
        self._rule, self._most = rule, most
        self._first: Grid | None = None
        self._seen = self._kept = 0

    def push(self, tokens: Grid) -> Mask:
        """Bool H × W for the next frame, H × W × C."""
        if tokens.ndim != 3:
            raise InvalidInput(f"Tokens of one frame must be rows x columns x length, not {tokens.shape}.")
        if self._first is None or self._seen == self._rule.chunk:
            self._first, self._seen, self._kept = tokens.copy(), 0, 0
        first, is_first = self._first, self._seen == 0
        mask = np.ones(tokens.shape[:2], np.bool_) if is_first else self._rule.keep(first, tokens)
        if self._most is not None:
            mask = _head(mask, self._most - self._kept)
        self._seen += 1
        self._kept += int(mask.sum())
        return mask


def kept_tokens(tokens: Grid, rule: Sameness) -> Mask:
    """Which tokens stay, bool frames × H × W, of frames × H × W × C; every chunk's first frame is whole."""
    if tokens.ndim != 4:
        raise InvalidInput(f"Tokens must be frames x rows x columns x length, not {tokens.shape}.")
    stream = StreamedTokens(rule)
    masks = [stream.push(frame) for frame in tokens]
    return np.stack(masks) if masks else np.zeros(tokens.shape[:3], np.bool_)


def released_cut(mask: Mask, *, budget: int, chunk: int = 8) -> Mask:
    """The released code's way to a budget: `ceil(excess / chunks)` tokens off the tail of every chunk, then the end.

    It can leave scraps of every frame and no frame whole; `mask.py` falls back to whole frames then.
    """
    excess = int(mask.sum()) - budget
    if excess <= 0:
        return mask.copy()
    starts = range(0, len(mask), chunk)
    removed = -(-excess // len(starts))
    parts = [mask[start : start + chunk] for start in starts]
    return _head(np.concatenate([_head(part, int(part.sum()) - removed) for part in parts]), budget)


def shrunk(tokens: Grid, *, rows: int, columns: int) -> NDArray[np.float32]:
    """Tokens on a smaller grid, frames × rows × columns × C: bilinear, pixel centres at .5, no smoothing before.

    The numbers of `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`.
    """
    down = _between(tokens.astype(np.float32), axis=1, size=rows)
    return _between(down, axis=2, size=columns)


def subgrid(height: int, width: int, *, rows: int, columns: int) -> Mask:
    """Bool height × width with rows × columns places, evenly spread: where a shrunk frame's tokens stand."""
    if not (0 < rows <= height and 0 < columns <= width):
        raise InvalidInput(f"A grid of {rows}x{columns} does not fit one of {height}x{width}.")
    mask = np.zeros((height, width), np.bool_)
    mask[np.ix_(_places(height, rows), _places(width, columns))] = True
    return mask


def _places(size: int, count: int) -> NDArray[np.intp]:
    return ((np.arange(count) * 2 + 1) * size // (2 * count)).astype(np.intp)


def _between(tokens: NDArray[np.float32], *, axis: int, size: int) -> NDArray[np.float32]:
    length = tokens.shape[axis]
    at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    low = np.floor(at).astype(np.intp)
    high = np.minimum(low + 1, length - 1)
    shape = [1] * tokens.ndim
    shape[axis] = size
    share = (at - low).astype(np.float32).reshape(shape)
    mixed: NDArray[np.float32] = tokens.take(low, axis) * (1 - share) + tokens.take(high, axis) * share
    return mixed


def _head(mask: Mask, most: int) -> Mask:
    """The first `most` of what the mask keeps, in the order of the tokens."""
    order = np.cumsum(mask).reshape(mask.shape)
    kept: Mask = mask & (order <= max(0, most))
    return kept


def _cosines(first: Grid, other: Grid) -> NDArray[np.float64]:
    one, two = first.astype(np.float64), other.astype(np.float64)
    if one.shape != two.shape:
        raise InvalidInput(f"Frames of one chunk must have one grid, not {one.shape} and {two.shape}.")
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1)
    cosines: NDArray[np.float64] = (one * two).sum(axis=-1) / np.maximum(lengths, 1e-12)
    return cosines


def _check_rule(rule: Sameness) -> None:
    if rule.chunk < 1:
        raise InvalidInput(f"A chunk holds at least one frame, not {rule.chunk}.")
