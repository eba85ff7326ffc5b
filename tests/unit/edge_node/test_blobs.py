"""Blobs of pixels: the same as a flood fill finds them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.blobs import blobs


def flooded(mask: np.ndarray) -> list[frozenset[tuple[int, int]]]:
    left = {(int(row), int(column)) for row, column in zip(*np.nonzero(mask), strict=True)}
    found = []
    while left:
        todo, blob = [left.pop()], set()
        while todo:
            row, column = todo.pop()
            blob.add((row, column))
            for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if near in left:
                    left.remove(near)
                    todo.append(near)
        found.append(frozenset(blob))
    return found


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.6, 0.8, 1.0])
def test_as_a_flood_fill(share: float) -> None:
    mask = np.random.default_rng(int(share * 10)).random((40, 50)) < share
    found = list(blobs(mask))
    pixels = [frozenset(zip(blob.rows.tolist(), blob.columns.tolist(), strict=True)) for blob in found]
    assert sorted(map(sorted, pixels)) == sorted(map(sorted, flooded(mask)))
    for blob, mine in zip(found, pixels, strict=True):
        rows, columns = {row for row, _ in mine}, {column for _, column in mine}
        assert (blob.top, blob.bottom, blob.left, blob.right) == (
            min(rows),
            max(rows) + 1,
            min(columns),
            max(columns) + 1,
        )


def test_a_horseshoe_is_one_blob() -> None:
    mask = np.array([[1, 0, 1], [1, 0, 1], [1, 1, 1]], bool)
    assert len(list(blobs(mask))) == 1
    assert len(list(blobs(mask[:2]))) == 2
