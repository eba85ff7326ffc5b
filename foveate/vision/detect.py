"""From one picture to labelled boxes: NanoDet-g with the 80 COCO classes, INT8, on one thread.

In: a uint8 RGB picture of any size. Out: candidate `Detection`s down to a low floor, best first. It does not know
what is worth reporting: callers apply `report_threshold`, or weigh all candidates with `likelihood.py` (next).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveate.errors import InvalidInput
from foveate.inference import open_session
from foveate.models import ModelFile
from foveate.vision.boxes import Box
from foveate.vision.vocabulary import COCO

Picture = NDArray[np.uint8]
"""Height × width × 3, RGB, 0..255."""

SCORE_FLOOR = 0.05
"""Candidates below are noise: with them, counting would weigh hundreds of boxes and gain nothing."""

PERSON_THRESHOLD = 0.45
"""At 0.30 one person in a room is found in 133 of 133 frames, but a crowd outdoors is counted 2.6 too high (PETS 2009,
people of 5.9 on average) and street furniture is a person for minutes; at 0.45 that ends."""

OTHER_THRESHOLD = 0.40
"""Below it, empty asphalt is a 'kite' in half of the frames; at it, in none of 54. Static phantoms may stay."""

_SIDE = 416
_STRIDES = (8, 16, 32)
_BINS = 11
_MEAN = np.array([103.53, 116.28, 123.675], np.float32)  # BGR
_STD = np.array([57.375, 57.12, 58.395], np.float32)
# Each byte's normalised value, by channel: a look-up costs a third of the arithmetic and gives the same floats.
_NORMALISED = np.ascontiguousarray(((np.arange(256, dtype=np.float32)[:, None] - _MEAN) / _STD).T)
_OVERLAP = 0.6  # the value of NanoDet's own configuration
_MOST = 300  # candidates before suppression: bounds the time that a picture full of texture can cost


@dataclass(frozen=True, slots=True)
class Detection:
    """One candidate object: `label` from the detector's vocabulary, `score` 0..1 (not a probability), `box`."""

    label: str
    score: float
    box: Box


class Detector(Protocol):
    """Whatever finds objects in one picture."""

    def detect(self, image: Picture) -> tuple[Detection, ...]:
        """Candidates in `image`, best first; blocking, so callers on an event loop use a thread."""
        ...


def report_threshold(label: str) -> float:
    """The score from which a candidate called `label` is worth reporting alone, as measured on real clips."""
    return PERSON_THRESHOLD if label == "person" else OTHER_THRESHOLD


class NanoDet:
    """NanoDet-g (RangiLyu, 2021): distances to the four sides as expectations over 11 bins, NMS for each class.

    The net was measured on pictures that keep their shape: squashing to a square loses people (0.86 -> none).
    """

    def __init__(self, model: ModelFile, *, threads: int = 1, score_floor: float = SCORE_FLOOR) -> None:
        self.model = model
        self._session = open_session(model, threads=threads)
        self._input = self._session.get_inputs()[0].name
        self._floor = score_floor
        self._centres, self._stride = _grid()

    def detect(self, image: Picture) -> tuple[Detection, ...]:
        """Candidates with score > floor, by score, class, then place; InvalidInput for what is no RGB picture."""
        batch, scale = letterbox(image)
        outputs = self._session.run(None, {self._input: batch})
        scores = np.concatenate(outputs[:3], axis=1)[0]
        bins = np.concatenate(outputs[3:], axis=1)[0]
        cells, labels = np.nonzero(scores > self._floor)
        confidence = scores[cells, labels]
        order = np.lexsort((cells, labels, -confidence))[:_MOST]
        cells, labels, confidence = cells[order], labels[order], confidence[order]
        height, width = image.shape[:2]
        corners = self._corners(cells, bins) / scale
        corners = np.clip(corners, 0, np.array([width, height, width, height], np.float32))
        kept = _suppress(corners, labels)
        unit = corners / np.array([width, height, width, height], np.float32)
        return tuple(_detection(labels[i], confidence[i], unit[i]) for i in kept)

    def _corners(self, cells: NDArray[np.intp], bins: NDArray[np.float32]) -> NDArray[np.float32]:
        """n × 4 left, top, right, bottom in letterboxed pixels."""
        logits = bins[cells].reshape(-1, 4, _BINS)
        weights = np.exp(logits - logits.max(axis=2, keepdims=True))
        expected = (weights @ np.arange(_BINS, dtype=np.float32)) / weights.sum(axis=2)
        reach = expected * self._stride[cells, None]
        centres = self._centres[cells]
        return np.concatenate([centres - reach[:, :2], centres + reach[:, 2:]], axis=1).astype(np.float32)


def letterbox(image: Picture) -> tuple[NDArray[np.float32], float]:
    """(1 × 3 × 416 × 416 normalised BGR, scale): the picture at the top left, black below or beside it."""
    check_picture(image)
    height, width = image.shape[:2]
    scale = _SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    batch = np.empty((1, 3, _SIDE, _SIDE), np.float32)
    for channel in range(3):
        batch[0, channel] = _NORMALISED[channel, 0]
        batch[0, channel, : size[1], : size[0]] = _NORMALISED[channel][resized[..., 2 - channel]]
    return batch, scale


def check_picture(image: Picture) -> None:
    """InvalidInput unless `image` is uint8 height × width × 3 with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InvalidInput(
            f"A picture must be uint8 height x width x 3 in RGB, not {image.dtype} {image.shape}; convert it."
        )


def _grid() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cell centres n × 2 (x, y) and strides n of all levels, in pixels of the net's input."""
    centres, strides = [], []
    for stride in _STRIDES:
        line = (np.arange(_SIDE // stride, dtype=np.float32) + 0.5) * stride
        y, x = np.meshgrid(line, line, indexing="ij")
        centres.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full(x.size, stride, np.float32))
    return np.concatenate(centres), np.concatenate(strides)


def _suppress(corners: NDArray[np.float32], labels: NDArray[np.intp]) -> list[int]:
    """Indices kept by greedy non-maximum suppression; the input is best first, so is the output."""
    overlap = _overlaps(corners) * (labels[:, None] == labels[None, :])
    alive = np.ones(len(labels), bool)
    for i in range(len(labels)):
        if alive[i]:
            alive[i + 1 :] &= overlap[i, i + 1 :] <= _OVERLAP
    return [int(i) for i in np.flatnonzero(alive)]


def _overlaps(corners: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of each pair, n × n."""
    low = np.maximum(corners[:, None, :2], corners[None, :, :2])
    high = np.minimum(corners[:, None, 2:], corners[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    union = area[:, None] + area[None, :] - shared
    overlap: NDArray[np.float32] = shared / np.maximum(union, 1e-9)
    return overlap


def _detection(label: np.intp, score: np.float32, corners: NDArray[np.float32]) -> Detection:
    left, top, right, bottom = (float(value) for value in corners)
    return Detection(COCO[int(label)], float(score), Box(left, top, right - left, bottom - top))
