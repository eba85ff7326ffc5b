"""Which of the eleven basic colours a thing in a picture has, and how well that fits a colour that is asked for. Pure.

In: an RGB picture and a box. Out: named colours with their shares, and how far an asked one agrees (0 to CEILING).
A heuristic over CIELAB: no white balance, no outline of the thing, so coloured light and busy ground mislead it, a
white car in the shade is grey to it, and its ceiling says so. It knows no label. Next: `look.py`, which holds it
against the detector's boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveate.vision.boxes import Box
from foveate.vision.detect import Picture, check_picture

NAMES = ("black", "white", "red", "green", "yellow", "blue", "brown", "purple", "pink", "orange", "grey")
"""The basic colour terms of English (Berlin and Kay 1969)."""

CEILING = 0.8
"""Most that a colour can be sure of: chosen, not fitted; light and ground can always deceive it."""

AGREES = 0.4
"""From here a thing counts as of the asked colour."""

_SIDE = 48  # pixels of the longer side that are looked at
_MIDDLE = 0.3  # standard deviation of the weight around the box's middle, in its own size: corners are ground
_BLACK, _WHITE, _CHROMA = 26.0, 78.0, 13.0
# Tyres, glass, hair and shadow are black or grey on things of any colour, so what is colourful counts more.
_COLOURFUL = 1.8
_LEAST, _FULL = 0.15, 0.5  # shares at which an asked colour begins to agree, and agrees as well as it can
_CLOSE = 0.75  # a second colour with this much of the first's share leaves open which one it is

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Share:
    """A colour, and the share of the thing that has it, 0 to 1."""

    name: str
    share: float


def shares(picture: Picture, box: Box) -> tuple[Share, ...]:
    """The colours within the box, the largest share first; nothing for a box without extent on the picture."""
    check_picture(picture)
    left, top, right, bottom = box.to_pixels(width=picture.shape[1], height=picture.shape[0])
    if right <= left or bottom <= top:
        return ()
    crop = Image.fromarray(picture[top:bottom, left:right])
    scale = min(1.0, _SIDE / max(crop.size))
    size = (max(1, round(crop.width * scale)), max(1, round(crop.height * scale)))
    lab = to_lab(np.asarray(crop.resize(size, Image.Resampling.BOX), np.uint8))
    named = named_pixels(lab)
    weight = _weights(size)
    counted = np.bincount(named.ravel(), weights=weight.ravel(), minlength=len(NAMES)).astype(np.float64)
    counted = counted * [1.0 if name in ("black", "white", "grey") else _COLOURFUL for name in NAMES]
    counted = counted / counted.sum()
    order = np.argsort(-counted, kind="stable")
    return tuple(Share(NAMES[index], float(counted[index])) for index in order if counted[index] > 0.0)


def agreement(found: Sequence[Share], asked: Sequence[str]) -> float:
    """How well the colours fit one of those asked for, 0 to CEILING; a colour that another one drowns fits half."""
    largest = found[0].share if found else 0.0
    mine = max((one.share for one in found if one.name in asked), default=0.0)
    fit = min(1.0, max(0.0, (mine - _LEAST) / (_FULL - _LEAST)))
    return CEILING * fit * (1.0 if mine >= _CLOSE * largest else 0.5)


def dominant(found: Sequence[Share]) -> Share | None:
    """The one colour of the thing; None when two are close, or none has a third of it."""
    if not found or found[0].share < 1 / 3:
        return None
    return None if len(found) > 1 and found[1].share >= _CLOSE * found[0].share else found[0]


def to_lab(rgb: Picture) -> Floats:
    """CIE 1976 L*a*b* (D65) of sRGB bytes, of the same height and width."""
    unit = rgb.astype(np.float32) / 255.0
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]], np.float32)
    ratio = xyz / np.array([0.9505, 1.0, 1.089], np.float32)
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    lab = np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)
    return lab.astype(np.float32)


def named_pixels(lab: Floats) -> NDArray[np.int64]:
    """For each pixel the index of its name: by lightness where there is hardly any colour, else by hue.

    The borders of hue were set by the sRGB colours that bear the names in CSS, in degrees of the a*b* plane.
    """
    light, chroma = lab[..., 0], np.hypot(lab[..., 1], lab[..., 2])
    hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360.0
    bright = light >= 62.0
    # Yellow and orange that are dark or dull are brown; a pale red is pink; the first rule that fits decides.
    rules: list[tuple[NDArray[np.bool_], str]] = [
        (((light < 15.0) & (chroma < 40.0)) | ((light < _BLACK) & (chroma < 20.0)), "black"),
        ((chroma < _CHROMA) & (light > _WHITE), "white"),
        (chroma < _CHROMA, "grey"),
        (((hue >= 335.0) | (hue < 30.0)) & bright, "pink"),
        (((hue >= 335.0) | (hue < 10.0)) & (light >= 52.0), "pink"),
        ((hue >= 350.0) | (hue < 25.0), "red"),
        ((hue < 50.0) & (chroma >= 38.0) & (light < 65.0), "red"),
        ((hue < 50.0) & (light < 65.0), "brown"),
        ((hue < 80.0) & ((light < 55.0) | (chroma < 35.0)), "brown"),
        (hue < 80.0, "orange"),
        ((hue < 98.0) & (light < 55.0), "brown"),
        ((hue < 110.0) & (chroma < 25.0) & (light > 85.0), "white"),
        ((hue < 110.0) & (chroma < 25.0), "brown"),
        ((hue < 112.0) & (light >= 50.0), "yellow"),
        (hue < 200.0, "green"),
        (hue < 309.0, "blue"),
        ((hue < 335.0) & ~((light > 58.0) & (chroma > 60.0)), "purple"),
        ((hue < 350.0) & (light < 45.0), "purple"),
    ]
    picked = np.select([rule for rule, _ in rules], [NAMES.index(name) for _, name in rules], NAMES.index("pink"))
    return np.asarray(picked, np.int64)


def _weights(size: tuple[int, int]) -> Floats:
    """Height x width, largest in the middle."""
    across, down = ((np.arange(side) + 0.5) / side - 0.5 for side in size)
    weight = np.exp(-(across[None, :] ** 2 + down[:, None] ** 2) / (2 * _MIDDLE**2))
    return np.asarray(weight, np.float32)
