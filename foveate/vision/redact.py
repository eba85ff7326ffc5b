"""Making what is inside boxes unrecognisable before a picture leaves: REDACTED_FRAMES.

In: a picture and boxes. Out: a copy with coarse means in place of the boxes' pixels. It does not know which
labels must be hidden: the residency policy says so. Next: the sender's release, which encodes the copy.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from foveate.vision.boxes import Box
from foveate.vision.detect import Detection, Picture, check_picture

BLOCKS = 8
"""Blocks along the longer side of a box: of a standing person, a face falls into about one block."""

MARGIN = 0.1
"""How far a box is grown on each side: detectors cut off hair, hands and feet."""


PERSON_FLOOR = 0.2
"""Candidates from here on are hidden: 1 in 250 of this score is a person (PETS 2009), and hiding a coat rack costs
nothing, while showing a face does."""


def people(detections: Iterable[Detection]) -> list[Box]:
    """The boxes that a redacted picture must hide."""
    return [item.box for item in detections if item.label == "person" and item.score >= PERSON_FLOOR]


def redact(image: Picture, boxes: Iterable[Box], *, blocks: int = BLOCKS, margin: float = MARGIN) -> Picture:
    """A copy of `image` in which each block of each grown box holds only the mean colour of that block.

    Irreversible: at most `blocks`² colours of a box survive, however many pixels it had, and any number of
    contents have the same means, so no computation brings the pixels back. What it is not: proof against
    being recognised from a short list by clothes' colours, place or time (McPherson et al. 2016,
    arXiv:1609.00408). Overlapping boxes are done one upon the other: no pixel of their union is ever shown.
    """
    check_picture(image)
    hidden = image.copy()
    height, width = image.shape[:2]
    for box in boxes:
        left, top, right, bottom = box.expanded(margin).to_pixels(width=width, height=height)
        if right > left and bottom > top:
            hidden[top:bottom, left:right] = _means(hidden[top:bottom, left:right], blocks)
    return hidden


def _means(patch: Picture, blocks: int) -> Picture:
    """`patch` with each block replaced by its mean; blocks are square but for the last row and column."""
    height, width = patch.shape[:2]
    side = max(1, -(-max(height, width) // blocks))
    rows, columns = np.arange(0, height, side), np.arange(0, width, side)
    sums = np.add.reduceat(np.add.reduceat(patch.astype(np.int64), rows, axis=0), columns, axis=1)
    tall, wide = np.diff(np.append(rows, height)), np.diff(np.append(columns, width))
    means = sums // (tall[:, None, None] * wide[None, :, None])
    filled: Picture = means.repeat(tall, axis=0).repeat(wide, axis=1).astype(np.uint8)
    return filled
