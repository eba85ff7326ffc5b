"""Evidence pictures: their size, their colours, the blank sheet and the JPEG border."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from foveate.errors import InvalidInput
from foveate.vision.boxes import Box
from foveate.vision.draw import SIZE, draw_evidence, jpeg, read_jpeg

GREY = np.full((120, 320, 3), 128, np.uint8)


def test_a_picture_keeps_its_shape_and_gains_a_strip() -> None:
    drawn = draw_evidence(GREY, boxes=[], labels=[], caption="north, 10:31", size=(640, 480))
    assert drawn.width == 640
    assert 240 < drawn.height < 300
    assert drawn.getpixel((5, 5)) == (128, 128, 128)
    assert drawn.getpixel((drawn.width - 2, drawn.height - 2)) != (128, 128, 128)


def test_without_caption_there_is_no_strip() -> None:
    assert draw_evidence(GREY, boxes=[], labels=[], caption="", size=(640, 480)).size == (640, 240)


def test_a_long_caption_takes_more_lines() -> None:
    short = draw_evidence(GREY, boxes=[], labels=[], caption="short")
    long = draw_evidence(GREY, boxes=[], labels=[], caption="a person crosses the yard " * 12)
    assert long.height > short.height
    assert long.width == short.width


def test_a_box_is_framed_at_its_place_and_only_there() -> None:
    box = Box(0.5, 0.5, 0.25, 0.25)
    plain = np.asarray(draw_evidence(GREY, boxes=[], labels=[], caption="", size=(640, 240)))
    drawn = np.asarray(draw_evidence(GREY, boxes=[box], labels=[""], caption="", size=(640, 240)))
    rows, columns = np.nonzero((drawn != plain).any(axis=2))
    assert (columns.min(), rows.min()) == (319, 119)
    assert (columns.max(), rows.max()) == (480, 180)
    assert (drawn[130:170, 330:470] == 128).all()


def test_equal_first_words_share_a_colour() -> None:
    boxes = [Box(0.05, 0.3, 0.2, 0.5), Box(0.4, 0.3, 0.2, 0.5), Box(0.7, 0.3, 0.2, 0.5)]
    labels = ["person 0.9", "car 0.8", "person 0.7"]
    drawn = draw_evidence(GREY, boxes=boxes, labels=labels, caption="", size=(640, 240))
    first, car, second = (drawn.getpixel((round(box.left * 640) + 1, 150)) for box in boxes)
    assert first == second != car


def test_the_blank_sheet_has_the_full_size_and_shows_its_notice() -> None:
    plain = draw_evidence(None, boxes=[], labels=[], caption="")
    told = draw_evidence(None, boxes=[], labels=[], caption="", notice="The picture stays on the device.")
    assert plain.size == told.size == SIZE
    rows, _ = np.nonzero((np.asarray(plain) != np.asarray(told)).any(axis=2))
    assert rows.min() > SIZE[1] * 0.9


def test_as_many_labels_as_boxes() -> None:
    with pytest.raises(InvalidInput, match="1 boxes but 0 labels"):
        draw_evidence(GREY, boxes=[Box(0, 0, 1, 1)], labels=[], caption="")


def test_a_jpeg_goes_there_and_back() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], (48, 64, 3)).copy()
    back = read_jpeg(jpeg(ramp, 95))
    assert back.shape == ramp.shape
    assert np.abs(back.astype(int) - ramp).max() < 12


def test_a_jpeg_carries_no_metadata() -> None:
    source = Image.fromarray(GREY)
    exif = source.getexif()
    exif[0x010E] = "where it was taken"
    buffer = io.BytesIO()
    source.save(buffer, "JPEG", exif=exif)
    with Image.open(io.BytesIO(buffer.getvalue())) as tagged:
        assert b"where it was taken" not in jpeg(tagged)


@pytest.mark.parametrize("cut", [0, 20, 400])
def test_half_a_jpeg_is_refused(cut: int) -> None:
    with pytest.raises(InvalidInput, match="not a whole JPEG"):
        read_jpeg(jpeg(GREY)[:cut])


def test_another_format_is_refused() -> None:
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, "PNG")
    with pytest.raises(InvalidInput, match="not a whole JPEG"):
        read_jpeg(buffer.getvalue())
