"""Scores events against what really happened: one-to-one, by how much of their time they share.

In: spans in seconds, as found and as true. Out: recall, precision and how far the starts are off. Pure.
Next: `events.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

Span = tuple[float, float]

OVERLAPS = (0.3, 0.5)


def scored(true: Sequence[Span], found: Sequence[Span]) -> dict[str, Any]:
    """Recall and precision at each overlap, and the error of the starts of what matched at the first one."""
    figures: dict[str, Any] = {"true": len(true), "found": len(found)}
    for overlap in OVERLAPS:
        matched = pairs(true, found, overlap=overlap)
        figures[f"{overlap:g}"] = {
            "matched": len(matched),
            "recall": round(len(matched) / len(true), 3) if true else None,
            "precision": round(len(matched) / len(found), 3) if found else None,
        }
    late = [found[other][0] - true[one][0] for one, other in pairs(true, found, overlap=OVERLAPS[0])]
    figures["start_error_s"] = (
        None
        if not late
        else {
            "median": round(median(map(abs, late)), 2),
            "most": round(max(map(abs, late)), 2),
            "median_signed": round(median(late), 2),
        }
    )
    return figures


def pairs(true: Sequence[Span], found: Sequence[Span], *, overlap: float) -> list[tuple[int, int]]:
    """As many pairs as possible, each span once, that overlap enough; among those the ones that overlap most."""
    table = np.array([[_overlap(one, other) for other in found] for one in true]).reshape(len(true), len(found))
    worth = np.where(table >= overlap, 1.0 + table / (1 + min(table.shape)), 0.0)
    rows, columns = linear_sum_assignment(-worth)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if worth[row, column] > 0]


def stays(frames: dict[int, set[int]], *, fps: float, gap_s: float) -> list[Span]:
    """Frame -> who is there, into one span for each stay; who is away for longer than `gap_s` comes anew."""
    found: list[Span] = []
    open_stays: dict[int, list[int]] = {}
    for frame, present in sorted(frames.items()):
        for who in present:
            stay = open_stays.get(who)
            if stay is None or frame - stay[1] > gap_s * fps:
                if stay is not None:
                    found.append((stay[0] / fps, stay[1] / fps))
                open_stays[who] = stay = [frame, frame]
            stay[1] = frame
    found += [(first / fps, last / fps) for first, last in open_stays.values()]
    return sorted(found)


def _overlap(one: Span, other: Span) -> float:
    shared = min(one[1], other[1]) - max(one[0], other[0])
    whole = max(one[1], other[1]) - min(one[0], other[0])
    return max(0.0, shared) / whole if whole > 0 else 0.0
