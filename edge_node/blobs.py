"""Connected blobs of a binary picture: which pixels hang together, side by side or one above the other.

In: a boolean array, height x width. Out: `Blob`s with their bounds and pixels. Runs of each row are joined where they
touch, so that the cost goes by the number of runs, not of pixels. It does not know what a blob is. Next: `read.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Blob:
    """One blob: its bounds in pixels, right and bottom exclusive, and the indices of its pixels."""

    left: int
    top: int
    right: int
    bottom: int
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]


def blobs(mask: NDArray[np.bool_]) -> Iterator[Blob]:
    """The blobs of `mask` (4-neighbours), in the order of their first row."""
    row, begin, end = _runs(mask)
    root = _joined(row, begin, end)
    for name in dict.fromkeys(root.tolist()):
        mine = np.flatnonzero(root == name)
        length = end[mine] - begin[mine]
        rows = np.repeat(row[mine], length)
        columns = np.concatenate([np.arange(begin[i], end[i]) for i in mine])
        yield Blob(int(columns.min()), int(rows[0]), int(columns.max()) + 1, int(rows[-1]) + 1, rows, columns)


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Row, first column and column behind the last of each run, in reading order."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    step = np.diff(padded, axis=1)
    row, begin = np.nonzero(step == 1)
    return row, begin, np.nonzero(step == -1)[1]


def _joined(row: NDArray[np.intp], begin: NDArray[np.intp], end: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each run the first run of its blob."""
    parent = list(range(len(row)))
    above = 0
    for run in range(len(row)):
        # Runs of the row above come before, in order: those that ended left of this one are passed for good.
        while row[above] < row[run] - 1 or (row[above] == row[run] - 1 and end[above] <= begin[run]):
            above += 1
        other = above
        while row[other] == row[run] - 1 and begin[other] < end[run]:
            _join(parent, other, run)
            other += 1
    return np.array([_root(parent, run) for run in range(len(row))], np.intp)


def _join(parent: list[int], one: int, other: int) -> None:
    first, second = sorted((_root(parent, one), _root(parent, other)))
    parent[second] = first


def _root(parent: list[int], run: int) -> int:
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run
