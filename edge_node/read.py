"""Reading: the lines of text in one picture, by PP-OCRv4's two networks on one thread, without OpenCV.

In: a uint8 RGB picture. Out: `Line`s with their score and box, best lines first to last from top to bottom, cleaned
and bounded. What it reads is data of strangers: it is stored as it is and never joined into an instruction. The
networks lie in the package `rapidocr-onnxruntime` or a folder of one's own; without them a site reads nothing.
Text that stands at a slant or on a curve is beyond it. Next: `perceive.py`, which reads key frames.
"""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_node.blobs import blobs
from foveate import models
from foveate.errors import NotReady
from foveate.inference import open_session
from foveate.models import ModelFile, ModelSource
from foveate.vision.boxes import Box
from foveate.vision.detect import Picture, check_picture

SURE = 0.8
"""Least score of a line that is kept: formulas and textures read as text at 0.6, signs and overlays at 0.9 and more."""
MOST_LINES = 32
LONGEST = 200
"""Characters of a line that are kept."""

PACKAGE = "rapidocr_onnxruntime"
DETECTOR, RECOGNISER = "ch_PP-OCRv4_det_infer.onnx", "ch_PP-OCRv4_rec_infer.onnx"

_SIDE = 960  # of the detector's input, longer side; it was trained near that
_LIKELY, _BLOB = 0.3, 0.5  # DB: of a pixel, and of a blob's mean (the package's own values)
_GROW = 1.6  # DB shrinks text by its area to perimeter ratio when it learns; this undoes it
_LOW = 3  # pixels of the detector's map; lower blobs are no text
_SPACE = 0.01  # chance of a space from which there is one
_HEIGHT = 48
_WIDEST = 1600  # pixels of a line at 48 height; a longer one is squeezed, which bounds the time of one line
_MEAN = np.array([0.406, 0.456, 0.485], np.float32)  # BGR, of the detector
_STD = np.array([0.225, 0.224, 0.229], np.float32)
# Each byte's normalised value, by channel: a look-up costs a fraction of the arithmetic.
_NORMALISED = np.ascontiguousarray(((np.arange(256, dtype=np.float32)[:, None] / 255.0 - _MEAN) / _STD).T)


@dataclass(frozen=True, slots=True)
class Line:
    """One line as recognised; `score` is the mean of its characters' probabilities, 0 to 1, not calibrated."""

    text: str
    score: float
    box: Box


class Reader(Protocol):
    """Whatever reads the text in one picture."""

    def read(self, picture: Picture) -> tuple[Line, ...]:
        """The lines from top to bottom; blocking, so callers on an event loop use a thread."""
        ...


class PpOcr:
    """PP-OCRv4 mobile (Du et al., arXiv:2009.09941; DB detector, SVTR-LCNet recogniser), upright or vertical lines.

    Measured on one thread: 0.2 s for a picture without text, 30 to 60 ms more for each line; of 168 drawn lines in
    seven fonts at 24 and 56 pixels 161 came out to the letter.
    """

    def __init__(self, detector: ModelFile, recogniser: ModelFile) -> None:
        self.detector, self.recogniser = detector, recogniser
        self._find, self._spell = (open_session(file, one_shape=False) for file in (detector, recogniser))
        self._find_input = self._find.get_inputs()[0].name
        self._spell_input = self._spell.get_inputs()[0].name
        letters = self._spell.get_modelmeta().custom_metadata_map.get("character", "")
        # Class 0 says "no character here", the last one is the space.
        self._letters = ["", *letters.splitlines(), " "]
        if len(self._letters) < 3:
            raise NotReady(f"The recogniser at {recogniser.path} names no characters; take the one of PP-OCRv4.")

    def read(self, picture: Picture) -> tuple[Line, ...]:
        """The lines with a score of at least 0.8, at most 32; InvalidInput for what is no RGB picture."""
        check_picture(picture)
        lines = (self._line(picture, box) for box in self._boxes(picture)[:MOST_LINES])
        return tuple(line for line in lines if line is not None)

    def _boxes(self, picture: Picture) -> list[Box]:
        """Where text stands, from top to bottom."""
        likely = self._find.run(None, {self._find_input: _shown(picture)})[0][0, 0]
        height, width = likely.shape
        found = []
        for blob in blobs(likely > _LIKELY):
            low, high = blob.bottom - blob.top, blob.right - blob.left
            if min(low, high) < _LOW or float(likely[blob.rows, blob.columns].mean()) < _BLOB:
                continue
            grow = _GROW * low * high / (2.0 * (low + high))
            left, top = (blob.left - grow) / width, (blob.top - grow) / height
            found.append(Box(left, top, (high + 2 * grow) / width, (low + 2 * grow) / height).clipped())
        return lines_of(found, ratio=picture.shape[1] / picture.shape[0])

    def _line(self, picture: Picture, box: Box) -> Line | None:
        left, top, right, bottom = box.to_pixels(width=picture.shape[1], height=picture.shape[0])
        crop = picture[top:bottom, left:right]
        if 0 in crop.shape:
            return None
        if crop.shape[0] >= 1.5 * crop.shape[1]:
            crop = np.rot90(crop)
        chances = self._spell.run(None, {self._spell_input: _strip(crop)})[0][0]
        text, score = spelled(chances, self._letters)
        text = cleaned(text)
        return Line(text, score, box) if text and score >= SURE else None


def lines_of(boxes: Sequence[Box], *, ratio: float) -> list[Box]:
    """Boxes of words joined to boxes of lines, from top to bottom; `ratio` is the picture's width to its height. Pure.

    Two are of one line when they stand side by side, about as high, and less than half their height apart.
    """
    lines: list[Box] = []
    for box in sorted(boxes, key=lambda box: box.left):
        before = next((line for line in reversed(lines) if _continues(line, box, ratio)), None)
        if before is not None:
            lines.remove(before)
            top, bottom = min(before.top, box.top), max(before.bottom, box.bottom)
            box = Box(before.left, top, max(before.right, box.right) - before.left, bottom - top)
        lines.append(box)
    return sorted(lines, key=lambda box: (round(box.top, 2), box.left))


def _continues(line: Box, box: Box, ratio: float) -> bool:
    low, high = sorted((line.height, box.height))
    shared = min(line.bottom, box.bottom) - max(line.top, box.top)
    apart = (box.left - line.right) * ratio
    return 0.5 * high <= low and 0.6 * high <= shared and -low <= apart <= 0.5 * low


def spelled(chances: NDArray[np.float32], letters: Sequence[str]) -> tuple[str, float]:
    """Text and mean probability of a CTC output, steps x classes: repeats are one, class 0 parts them (Graves 2006).

    The last class is the space. This network knows of spaces but seldom prefers them, so one is put where it becomes
    likely at all between two letters: measured, 0.003 to 0.5 between words in capitals, below 0.002 within words.
    """
    best = chances.argmax(axis=1)
    new = np.ones(len(best), bool)
    new[1:] = best[1:] != best[:-1]
    kept = np.flatnonzero(new & (best > 0) & (best < len(letters)))
    if not len(kept):
        return "", 0.0
    text = [letters[best[kept[0]]]]
    for before, step in pairwise(kept):
        if chances[before:step, len(letters) - 1].max() > _SPACE:
            text.append(" ")
        text.append(letters[best[step]])
    return " ".join("".join(text).split()), float(chances[kept, best[kept]].mean())


def cleaned(text: str) -> str:
    """The text on one line, without characters that steer a terminal or a reader, at most 200 characters."""
    # Cc, Cf, Co, Cs, Zl, Zp: among them escapes, and marks that turn the direction of writing.
    shown = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text[: 4 * LONGEST])
    return " ".join(shown.split())[:LONGEST]


def open_reader(folder: Path | None = None) -> PpOcr:
    """The reader over `folder`, or over the package's networks; NotReady says how to get them."""
    place = folder or _package_folder()
    if place is None:
        raise NotReady(
            f"Text in pictures is not read here; install `foveate[ocr]` or name a folder with {DETECTOR}.",
            reason="EXTRA_MISSING",
        )
    named = [
        models.find(name, source=ModelSource(path=place / file, licence="Apache-2.0", revision="4"))
        for name, file in (("pp-ocr-detector", DETECTOR), ("pp-ocr-recogniser", RECOGNISER))
    ]
    return PpOcr(*named)


def _package_folder() -> Path | None:
    """Where the package keeps its networks; only its files are used, so that OpenCV is never loaded."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "models"


def _shown(picture: Picture) -> NDArray[np.float32]:
    """1 x 3 x H x W, normalised BGR, both sides multiples of 32."""
    scale = _SIDE / max(picture.shape[:2])
    width, height = (max(32, round(side * scale / 32) * 32) for side in (picture.shape[1], picture.shape[0]))
    sized = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))
    batch = np.empty((1, 3, height, width), np.float32)
    for channel in range(3):
        batch[0, channel] = _NORMALISED[channel][sized[..., 2 - channel]]
    return batch


def _strip(crop: Picture) -> NDArray[np.float32]:
    """1 x 3 x 48 x W, BGR in -1..1; at least as wide as the network learned, grey beside a short line."""
    width = min(_WIDEST, max(8, round(crop.shape[1] * _HEIGHT / crop.shape[0])))
    sized = np.asarray(Image.fromarray(crop).resize((width, _HEIGHT), Image.Resampling.BILINEAR), np.float32)
    # Few widths, so that few shapes of tensors are kept ready.
    batch = np.zeros((1, 3, _HEIGHT, max(320, -(-width // 160) * 160)), np.float32)
    batch[0, :, :, :width] = (sized[..., ::-1] / 127.5 - 1.0).transpose(2, 0, 1)
    return batch
