"""Evidence that a person can look at: a picture with its boxes, their labels and one line of caption.

In: a picture, or none when only facts may travel, with boxes and words. Out: a Pillow image, or JPEG bytes. It
does not know what may leave: the caller passes only what residency let through. Next: `foveate/cli`, which shows it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from foveate.errors import InvalidInput
from foveate.vision.boxes import Box
from foveate.vision.detect import Picture, check_picture

SIZE = (960, 540)
"""Width and height of the area for the picture; the caption strip is added below."""

LARGEST = 64_000_000
"""Pixels that `read_jpeg` accepts: an 8K frame has 33 million."""

_INK = (24, 28, 36)
_PAPER = (244, 245, 247)
_GRID = (226, 229, 234)
_FAINT = (120, 128, 140)
LONG_SIDE = 960
MOST_BYTES = 256 * 1024  # what a message may carry as one picture
# Okabe and Ito's colours, which stay apart for colour-blind eyes.
_COLOURS = (
    (0, 158, 115),
    (230, 159, 0),
    (86, 180, 233),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
    (240, 228, 66),
)


def draw_evidence(
    image: Picture | None,
    *,
    boxes: Sequence[Box],
    labels: Sequence[str],
    caption: str,
    size: tuple[int, int] = SIZE,
    notice: str = "",
) -> Image.Image:
    """The picture fitted into `size` with a caption strip below; a blank canvas with `notice` without one.

    `labels[i]` is written at `boxes[i]`; equal first words share a colour. InvalidInput when the lengths differ.
    """
    if len(boxes) != len(labels):
        raise InvalidInput(f"There are {len(boxes)} boxes but {len(labels)} labels; give one label for each box.")
    canvas = _blank(size, notice) if image is None else _fitted(image, size)
    pen = ImageDraw.Draw(canvas)
    colours = _colours(labels)
    # Large boxes first, so that a small one's frame and chip stay on top.
    for i in sorted(range(len(boxes)), key=lambda i: -boxes[i].area):
        _frame(pen, boxes[i], colour=colours[i], size=canvas.size)
    for i in sorted(range(len(boxes)), key=lambda i: -boxes[i].area):
        _chip(pen, boxes[i], labels[i], colour=colours[i], size=canvas.size)
    return _captioned(canvas, caption)


def jpeg(image: Picture | Image.Image, quality: int = 85) -> bytes:
    """The picture as JPEG bytes without metadata; `quality` 1..95."""
    if isinstance(image, np.ndarray):
        check_picture(image)
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def small_jpeg(image: Picture) -> bytes:
    """The picture as it travels with an answer: a JPEG of at most LONG_SIDE pixels and MOST_BYTES bytes."""
    check_picture(image)
    picture = Image.fromarray(image)
    side = LONG_SIDE
    while True:
        picture.thumbnail((side, side))
        for quality in (85, 70, 50, 30):
            data = jpeg(picture, quality)
            if len(data) <= MOST_BYTES:
                return data
        side //= 2


def read_jpeg(data: bytes) -> Picture:
    """uint8 height × width × 3 RGB; InvalidInput for bytes that are no whole picture of a sensible size."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            if picture.width * picture.height > LARGEST:
                raise InvalidInput(f"A JPEG of {picture.width}x{picture.height} is too large; send a smaller one.")
            return np.array(picture.convert("RGB"), np.uint8)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise InvalidInput("These bytes are not a whole JPEG picture; send the file again.") from error


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _text_size(height: int) -> int:
    return max(11, height // 34)


def _fitted(image: Picture, size: tuple[int, int]) -> Image.Image:
    """The picture at its own shape, as large as fits into `size`."""
    check_picture(image)
    height, width = image.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Image.fromarray(image).resize(target, Image.Resampling.LANCZOS)


def _blank(size: tuple[int, int], notice: str) -> Image.Image:
    """Squared paper: plainly no photograph, and fit to judge a box's place by eye."""
    canvas = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(canvas)
    step = max(8, size[0] // 24)
    for x in range(step, size[0], step):
        pen.line([(x, 0), (x, size[1])], fill=_GRID)
    for y in range(step, size[1], step):
        pen.line([(0, y), (size[0], y)], fill=_GRID)
    pen.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=_FAINT)
    font = _font(_text_size(size[1]))
    pen.text((size[0] // 2, size[1] - _text_size(size[1])), notice, fill=_FAINT, font=font, anchor="ms")
    return canvas


def _colours(labels: Sequence[str]) -> list[tuple[int, int, int]]:
    order = list(dict.fromkeys(label.partition(" ")[0] for label in labels))
    return [_COLOURS[order.index(label.partition(" ")[0]) % len(_COLOURS)] for label in labels]


def _frame(pen: ImageDraw.ImageDraw, box: Box, *, colour: tuple[int, int, int], size: tuple[int, int]) -> None:
    left, top, right, bottom = box.to_pixels(width=size[0], height=size[1])
    if right <= left or bottom <= top:
        return
    line = max(2, size[1] // 220)
    # A dark hairline around keeps the colour readable on any ground.
    pen.rectangle((left - 1, top - 1, right, bottom), outline=_INK, width=1)
    pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=line)


def _chip(
    pen: ImageDraw.ImageDraw, box: Box, label: str, *, colour: tuple[int, int, int], size: tuple[int, int]
) -> None:
    if not label:
        return
    font = _font(_text_size(size[1]))
    pad = max(3, _text_size(size[1]) // 3)
    wide, high = int(pen.textlength(label, font=font)) + 2 * pad, _text_size(size[1]) + 2 * pad
    left, top, _, _ = box.to_pixels(width=size[0], height=size[1])
    x = max(0, min(left, size[0] - wide))
    y = top - high if top >= high else top
    pen.rounded_rectangle((x, y, x + wide, y + high), radius=pad, fill=colour)
    pen.text((x + pad, y + high / 2), label, fill=_INK, font=font, anchor="lm")


def _captioned(canvas: Image.Image, caption: str) -> Image.Image:
    """`canvas` above a dark strip; a caption that is too long for one line is wrapped."""
    text = max(12, canvas.width // 56)
    font, pad = _font(text), text * 2 // 3
    lines = _wrapped(caption, width=canvas.width - 2 * pad, font=font)
    if not lines:
        return canvas
    whole = Image.new("RGB", (canvas.width, canvas.height + len(lines) * text * 4 // 3 + 2 * pad), _INK)
    whole.paste(canvas, (0, 0))
    pen = ImageDraw.Draw(whole)
    for row, line in enumerate(lines):
        pen.text((pad, canvas.height + pad + row * text * 4 // 3), line, fill=_PAPER, font=font)
    return whole


def _wrapped(caption: str, *, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    lines: list[str] = []
    for word in caption.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
