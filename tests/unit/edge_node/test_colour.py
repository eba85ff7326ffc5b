"""The names of colours, their shares in a box, and when a colour is left open."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.colour import AGREES, CEILING, NAMES, agreement, dominant, named_pixels, shares, to_lab
from foveate.vision.boxes import Box

WHOLE = Box(0.0, 0.0, 1.0, 1.0)
CSS = {
    "black": ["000000", "1a1a1a"],
    "white": ["ffffff", "f5f5f5", "fffafa"],
    "grey": ["808080", "a9a9a9", "696969"],
    "red": ["ff0000", "b22222", "8b0000", "dc143c"],
    "green": ["008000", "00ff00", "228b22", "2e8b57", "006400"],
    "yellow": ["ffff00", "ffd700", "f0e020"],
    "blue": ["0000ff", "000080", "4169e1", "87ceeb", "1e90ff", "4682b4"],
    "brown": ["8b4513", "a0522d", "654321", "d2b48c"],
    "purple": ["800080", "4b0082", "9932cc", "8a2be2"],
    "pink": ["ffc0cb", "ff69b4", "ffb6c1", "ff1493"],
    "orange": ["ffa500", "ff8c00", "ff7f50"],
}


def plain(colour: str) -> np.ndarray:
    rgb = [int(colour[index : index + 2], 16) for index in (0, 2, 4)]
    return np.full((40, 40, 3), rgb, np.uint8)


def test_white_is_white_and_red_has_its_place_in_lab() -> None:
    assert to_lab(plain("ffffff"))[0, 0] == pytest.approx([100, 0, 0], abs=0.1)
    assert to_lab(plain("ff0000"))[0, 0] == pytest.approx([53.2, 80.1, 67.2], abs=0.2)


@pytest.mark.parametrize(("name", "colour"), [(name, colour) for name, every in CSS.items() for colour in every])
def test_colours_have_the_names_that_people_give_them(name: str, colour: str) -> None:
    assert NAMES[int(named_pixels(to_lab(plain(colour)))[0, 0])] == name


def test_the_middle_counts_more_than_the_ground_around_it() -> None:
    picture = plain("808080")
    picture[8:32, 8:32] = (200, 20, 20)
    picture[26:32, 8:32] = (10, 10, 10)
    found = shares(picture, WHOLE)
    assert found[0].name == "red"
    assert sum(one.share for one in found) == pytest.approx(1.0)
    assert dominant(found) == found[0]
    assert agreement(found, ("red",)) == pytest.approx(CEILING)
    assert agreement(found, ("blue", "red")) == pytest.approx(CEILING)
    assert agreement(found, ("blue",)) == 0.0
    assert agreement(found, ("grey",)) < AGREES


def test_two_colours_alike_leave_it_open() -> None:
    picture = plain("0000ff")
    picture[:, :20] = (255, 0, 0)
    found = shares(picture, WHOLE)
    assert dominant(found) is None
    assert min(agreement(found, ("red",)), agreement(found, ("blue",))) > AGREES


def test_a_box_beside_the_picture_has_no_colour() -> None:
    assert shares(plain("ff0000"), Box(1.2, 0.2, 0.1, 0.1)) == ()
    assert agreement((), ("red",)) == 0.0
    assert dominant(()) is None
