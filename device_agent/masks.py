"""Privacy masks, burned in: what lies under one is flat grey in whatever is looked at and whatever leaves.

In: the masks of the configuration, and pictures of any size. Out: copies without what the masks hide. Each mask is
rounded outwards to whole pixels, and in pictures a few more: scaling and coarser colour smear that far. It does not
know where pictures come from. Next: `frames.py` hides what is looked at, `burn.py` and `blur.py` what leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from device_agent.polygon import touched
from device_agent.rules import Mask
from foveate.vision.detect import Picture

GREY = 128
"""Every masked sample: mid grey in RGB, in luma and in both chromas."""

_SMEARED = 3  # pixels: the reach of a bicubic filter over colour of half the size, scaled down


@dataclass(frozen=True, slots=True)
class _Patch:
    """The part of a picture that holds all masks: what is kept of each sample, and what is put there."""

    rows: slice
    columns: slice
    keep: NDArray[np.uint8]
    fill: NDArray[np.uint8]

    def apply(self, plane: NDArray[np.uint8]) -> None:
        part = plane[self.rows, self.columns]
        np.bitwise_and(part, self.keep, out=part)
        np.bitwise_or(part, self.fill, out=part)


class Masks:
    """All privacy masks of one device; false when there are none. Safe from any thread."""

    def __init__(self, masks: tuple[Mask, ...]) -> None:
        self._masks = masks
        self.names = tuple(mask.name for mask in masks)
        # Worked out once for each size, of which one camera has few; two threads at once only do it twice.
        self._rgb: dict[tuple[int, int], _Patch] = {}
        self._yuv: dict[tuple[int, int], tuple[_Patch, _Patch]] = {}
        self._cells: dict[tuple[int, int], NDArray[np.bool_]] = {}

    def __bool__(self) -> bool:
        return bool(self._masks)

    def burn(self, image: Picture) -> Picture:
        """A copy of the RGB picture, grey under the masks; the picture itself when there are none."""
        if not self._masks:
            return image
        size = (image.shape[1], image.shape[0])
        if size not in self._rgb:
            hidden = self._hidden(*size, margin=_SMEARED)
            self._rgb[size] = _patch(np.repeat(hidden[..., None], 3, axis=2))
        burned = image.copy()
        self._rgb[size].apply(burned)
        return burned

    def burn_frame(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The picture as YUV 4:2:0, grey under the masks; `frame` itself may be changed, its decoder's picture is not.

        A colour sample that stands for any masked pixel is masked for its neighbours as well.
        """
        plain = frame.reformat(format="yuv420p")
        if not self._masks:
            return plain
        size = (plain.width, plain.height)
        if size not in self._yuv:
            hidden = self._hidden(*size, margin=_SMEARED)
            self._yuv[size] = _patch(hidden), _patch(_halved(hidden))
        plain.make_writable()  # its decoder goes on using what it has decoded
        luma, chroma = self._yuv[size]
        for plane, patch in zip(plain.planes, (luma, chroma, chroma), strict=True):
            samples = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
            patch.apply(samples)
        return plain

    def cover(self, grey: NDArray[np.float32]) -> NDArray[np.float32]:
        """A copy of the height × width luma in which every touched cell has the median of the others.

        That follows the light as they do, so a lamp that is switched on does not make the masks stand out.
        """
        if not self._masks:
            return grey
        size = (grey.shape[1], grey.shape[0])
        if size not in self._cells:
            self._cells[size] = self._hidden(*size, margin=0)
        hidden = self._cells[size]
        rest = grey[~hidden]
        covered = grey.copy()
        covered[hidden] = np.median(rest) if rest.size else GREY
        return covered

    def _hidden(self, width: int, height: int, *, margin: int) -> NDArray[np.bool_]:
        """height × width: what any mask touches, grown by `margin` pixels to all sides."""
        hidden = np.zeros((height, width), np.bool_)
        for mask in self._masks:
            hidden |= touched(mask.polygon, width=width, height=height)
        grown = np.pad(hidden, margin)
        for _ in range(margin):
            grown[1:] |= grown[:-1].copy()
            grown[:-1] |= grown[1:].copy()
            grown[:, 1:] |= grown[:, :-1].copy()
            grown[:, :-1] |= grown[:, 1:].copy()
        return grown[margin : margin + height, margin : margin + width]


def _halved(hidden: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The same for samples that each stand for two by two pixels."""
    height, width = hidden.shape
    even = np.pad(hidden, ((0, height % 2), (0, width % 2)))
    halved: NDArray[np.bool_] = even[::2, ::2] | even[1::2, ::2] | even[::2, 1::2] | even[1::2, 1::2]
    return halved


def _patch(hidden: NDArray[np.bool_]) -> _Patch:
    """The smallest patch around all that is hidden."""
    rows, columns = (np.flatnonzero(hidden.any(axis=axes)) for axes in _other_axes(hidden.ndim))
    if not rows.size:
        return _Patch(slice(0, 0), slice(0, 0), *(np.zeros(hidden[:0, :0].shape, np.uint8),) * 2)
    tall, wide = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    part = hidden[tall, wide]
    return _Patch(tall, wide, np.where(part, np.uint8(0), np.uint8(255)), np.where(part, np.uint8(GREY), np.uint8(0)))


def _other_axes(dimensions: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """All axes but the rows', and all but the columns'."""
    return tuple(range(1, dimensions)), (0, *range(2, dimensions))
