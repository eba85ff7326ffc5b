"""How things look: what is alike, what is not, and that the first impression stays."""

from __future__ import annotations

import time

import numpy as np
import pytest

from device_agent.appearance import ALIKE, Memory, look_of
from foveate.vision.boxes import Box
from foveate.vision.detect import Picture

WHOLE = Box(0.0, 0.0, 1.0, 1.0)


def _dressed(upper: tuple[int, int, int], lower: tuple[int, int, int], seed: int = 0, size: int = 60) -> Picture:
    image = np.empty((2 * size, size, 3), np.int16)
    image[:size], image[size:] = upper, lower
    noise = np.random.default_rng(seed).integers(-8, 9, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


RED, BLUE, GREY = (180, 30, 30), (30, 40, 170), (120, 120, 120)


def test_one_thing_near_and_far_is_alike_and_another_is_not() -> None:
    here, there = look_of(_dressed(RED, GREY), WHOLE), look_of(_dressed(RED, GREY, seed=1, size=15), WHOLE)
    other = look_of(_dressed(BLUE, GREY), WHOLE)
    assert here is not None
    assert there is not None
    assert other is not None
    assert here @ there > ALIKE
    assert here @ other < 0.6
    assert np.linalg.norm(here) == pytest.approx(1.0, abs=1e-5)


def test_trousers_are_not_a_shirt() -> None:
    one, other = look_of(_dressed(RED, BLUE), WHOLE), look_of(_dressed(BLUE, RED), WHOLE)
    assert one is not None
    assert other is not None
    assert one @ other < 0.2


@pytest.mark.parametrize("box", [Box(0.2, 0.2, 0.0, 0.3), Box(2.0, 2.0, 0.1, 0.1)])
def test_no_pixels_have_no_look(box: Box) -> None:
    assert look_of(_dressed(RED, GREY), box) is None


def test_the_smallest_thing_has_a_look() -> None:
    assert look_of(_dressed(RED, GREY), Box(0.5, 0.5, 1e-4, 1e-4)) is not None


def test_the_first_impression_stays_and_the_last_keep_up() -> None:
    red, blue, grey = (look_of(_dressed(colour, colour), WHOLE) for colour in (RED, BLUE, GREY))
    assert red is not None
    assert blue is not None
    assert grey is not None
    memory = Memory()
    assert memory.alike(red) is None
    for look in (red, red, red, *[blue] * 50):
        memory.add(look)
    assert (len(memory.first), len(memory.recent)) == (3, 6)
    assert memory.alike(red) == pytest.approx(0.5, abs=0.05)
    assert memory.alike(blue) == pytest.approx(0.5, abs=0.05)
    assert memory.alike(grey) == pytest.approx(0.0, abs=0.05)
    assert memory.alike(None) is None


def test_a_look_costs_less_than_half_a_millisecond() -> None:
    """The best of many runs, so that other work on the machine does not count."""
    image, took = np.zeros((720, 1280, 3), np.uint8), []
    for _ in range(50):
        began = time.perf_counter()
        look_of(image, Box(0.3, 0.3, 0.2, 0.5))
        took.append(time.perf_counter() - began)
    assert min(took) < 0.0005
