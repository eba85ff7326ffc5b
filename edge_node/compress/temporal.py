"""Stage 1 of LongVU: of frames that look alike, few are kept; window by window, so a stream waits for one window.

In: one feature vector a frame. Out: which frames stay. The paper and the code that its authors released differ, and
both are here under these names: `PaperRule` and `ReleasedRule`. It knows no question. Next: `select.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from foveate.errors import InvalidInput

Item = TypeVar("Item")
Vectors = NDArray[np.floating[Any]]

MOST_FRAMES = 400
"""What the released code keeps at most, "in case of OOM"."""


class Redundancy(Protocol):
    """A rule for one window of frames."""

    @property
    def window(self) -> int:
        """Frames in a window; the last one of a clip may be shorter."""
        ...

    def keep(self, features: Vectors) -> NDArray[np.bool_]:
        """Which frames of one window stay, bool n, from `features` n × length."""
        ...


@dataclass(frozen=True, slots=True)
class PaperRule:
    """The paper's: a frame stays iff its mean cosine with the *other* frames of its window is below the threshold.

    Section 3.1, J = 8, 0.8. A window in which nothing moves loses every frame. A frame alone has nobody to resemble
    and stays.
    """

    window: int = 8
    threshold: float = 0.8

    def keep(self, features: Vectors) -> NDArray[np.bool_]:
        """Bool n, from n × length."""
        cosines = _cosines(features)
        np.fill_diagonal(cosines, 0.0)
        kept: NDArray[np.bool_] = cosines.sum(axis=1) / max(len(cosines) - 1, 1) < self.threshold
        return kept


@dataclass(frozen=True, slots=True)
class ReleasedRule:
    """The released code's: the mean includes the frame itself, and the middle frame of each window always stays.

    `select_frame`, W = 16, 0.83: `s = mean(F F^T)`, `s[len // 2] = 0`, keep `s < threshold`. The middle is that of the
    window as it is, so a last, shorter window has its own.
    """

    window: int = 16
    threshold: float = 0.83

    def keep(self, features: Vectors) -> NDArray[np.bool_]:
        """Bool n, from n × length."""
        means = _cosines(features).mean(axis=1)
        means[len(means) // 2] = 0.0
        kept: NDArray[np.bool_] = means < self.threshold
        return kept


STREAMED = ReleasedRule(window=8, threshold=0.83)
"""The paper's window and, within 0.006, its threshold, with the middle frame kept: a still camera keeps one in 8."""


def excluded_threshold(threshold: float, window: int) -> float:
    """The threshold without self-similarity that equals `threshold` with it: (J tau - 1) / (J - 1)."""
    if window < 2:
        raise InvalidInput("A window of one frame has no others to resemble; use two or more.")
    return (window * threshold - 1) / (window - 1)


def kept_frames(features: Vectors, rule: Redundancy) -> NDArray[np.bool_]:
    """Which of n frames stay, bool n, from `features` n × length in order of time; no guard, as in a stream."""
    _check_rule(rule)
    if len(features) == 0:
        return np.zeros(0, np.bool_)
    return np.concatenate([rule.keep(features[i : i + rule.window]) for i in range(0, len(features), rule.window)])


def batch_frames(
    features: Vectors, *, fit: int, rule: Redundancy | None = None, most: int = MOST_FRAMES
) -> NDArray[np.intp]:
    """Indices of the frames that stay, with the released code's guards, for which the whole clip must be there.

    Fewer frames than `fit` (what the budget takes at low resolution) are never pruned; what is left is thinned evenly
    to `most`.
    """
    if len(features) < fit:
        return np.arange(len(features))
    indices = np.flatnonzero(kept_frames(features, rule or ReleasedRule()))
    return indices[thinned(len(indices), most)]


def thinned(count: int, most: int) -> NDArray[np.intp]:
    """`most` of `count` places, evenly: `int(i count / most)`, as the released code does; all when they are fewer."""
    if count <= most:
        return np.arange(count)
    return np.array([int(count / most * i) for i in range(most)], np.intp)


class StreamedFrames(Generic[Item]):
    """Stage 1 on a stream: what goes in comes out, or not, when its window is full.

    The same frames stay as in `kept_frames`; a frame waits for at most `rule.window - 1` others.
    """

    def __init__(self, rule: Redundancy = STREAMED) -> None:
        _check_rule(rule)
        self._rule = rule
        self._waiting: list[tuple[Item, Vectors]] = []

    @property
    def waiting(self) -> int:
        """Frames of the window that is not full yet."""
        return len(self._waiting)

    def push(self, item: Item, features: Vectors) -> Sequence[Item]:
        """One frame with its vector; the frames that stay of the window that it filled, else none."""
        self._waiting.append((item, _vector(features)))
        return self.flush() if len(self._waiting) == self._rule.window else ()

    def flush(self) -> Sequence[Item]:
        """The frames that stay of a window that will not fill up: at the end, or when a question cannot wait."""
        if not self._waiting:
            return ()
        window, self._waiting = self._waiting, []
        kept = self._rule.keep(np.stack([features for _, features in window]))
        return tuple(item for (item, _), stays in zip(window, kept, strict=True) if stays)


def _cosines(features: Vectors) -> NDArray[np.float64]:
    """n × n, from n × length."""
    if features.ndim != 2 or not len(features):
        raise InvalidInput(f"Features of a window must be frames x length, not {features.shape}; stack them.")
    wide = features.astype(np.float64)
    unit = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    cosines: NDArray[np.float64] = unit @ unit.T
    return cosines


def _vector(features: Vectors) -> Vectors:
    if features.ndim != 1:
        raise InvalidInput(f"Features of one frame must be one vector, not {features.shape}; flatten them.")
    return features


def _check_rule(rule: Redundancy) -> None:
    if rule.window < 1:
        raise InvalidInput(f"A window holds at least one frame, not {rule.window}.")
