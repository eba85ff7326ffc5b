"""Rung 2: what counts as change, what is light, noise, scenery or a moving camera."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from device_agent.background import HEIGHT, WIDTH, Background, cut, exposure
from device_agent.view import Change

Grey = NDArray[np.float32]


def scene(seed: int = 0) -> Grey:
    """A yard: smooth patches of different brightness."""
    chance = np.random.default_rng(seed)
    coarse = chance.uniform(40, 190, (9, 16))
    return np.kron(coarse, np.ones((HEIGHT // 9, WIDTH // 16))).astype(np.float32)


def noisy(grey: Grey, chance: np.random.Generator, spread: float = 1.0) -> Grey:
    return np.clip(grey + chance.normal(0, spread, grey.shape), 0, 255).astype(np.float32)


def with_object(grey: Grey, *, row: int = 20, column: int = 30, size: int = 4, level: float = 240.0) -> Grey:
    shown = grey.copy()
    shown[row : row + size, column : column + size] = level
    return shown


class Yard:
    """A background that has watched a noisy scene, five pictures a second."""

    def __init__(self, *, spread: float = 1.0, pictures: int = 100) -> None:
        self.background, self.chance, self.time, self.spread = Background(), np.random.default_rng(1), 0.0, spread
        self.scene = scene()
        for _ in range(pictures):
            self.see(self.scene)

    def see(self, grey: Grey, *, after: float = 0.2) -> Change:
        self.time += after
        return self.background.compare(noisy(grey, self.chance, self.spread), self.time)


@pytest.mark.parametrize("spread", [0.5, 2.0, 5.0])
def test_noise_is_learned(spread: float) -> None:
    yard = Yard(spread=spread)
    assert not any(yard.see(yard.scene).moving for _ in range(300))


def test_an_object_is_found_where_it_is() -> None:
    yard = Yard()
    change = yard.see(with_object(yard.scene, row=20, column=30))
    assert len(change.regions) == 1
    box = change.regions[0]
    assert box.left == pytest.approx(30 / WIDTH, abs=1.5 / WIDTH)
    assert box.top == pytest.approx(20 / HEIGHT, abs=1.5 / HEIGHT)
    assert change.level > 1.0


@pytest.mark.parametrize(("gain", "offset"), [(0.75, 0.0), (1.2, 0.0), (1.0, -15.0), (0.9, 20.0)])
def test_an_exposure_step_is_light(gain: float, offset: float) -> None:
    yard = Yard()
    stepped = np.clip(yard.scene * gain + offset, 0, 250).astype(np.float32)
    changes = [yard.see(stepped) for _ in range(20)]
    assert changes[0].light
    assert not any(change.moving for change in changes)


def test_a_bright_car_that_darkens_the_exposure_is_found_all_the_same() -> None:
    yard = Yard()
    darkened = with_object(yard.scene * 0.8, row=10, column=20, size=14, level=230.0)
    change = yard.see(darkened)
    assert any(box.area > 0.03 for box in change.regions)
    assert not change.cut


def test_daylight_drifts_for_hours_unnoticed() -> None:
    yard = Yard()
    gains = 1.0 - 0.5 * np.sin(np.linspace(0, math.pi, 400))
    assert not any(yard.see((yard.scene * gain).astype(np.float32), after=60.0).moving for gain in gains)


def test_what_comes_to_rest_becomes_scenery_and_its_leaving_is_news() -> None:
    yard = Yard()
    parked = with_object(yard.scene)
    assert yard.see(parked).regions
    still = yard.see(parked)
    assert still.resting
    assert not still.regions
    for _ in range(150):
        last = yard.see(parked)
    assert not last.resting
    assert yard.see(yard.scene).regions, "it drives off"


def test_flicker_is_in_the_end_no_news() -> None:
    """Leaves in the wind: the same cells jump about for minutes."""
    yard = Yard(pictures=20)
    changes = []
    for _ in range(900):
        shown = yard.scene.copy()
        shown[5:12, 40:60] += yard.chance.normal(0, 12, (7, 20)).astype(np.float32)
        changes.append(yard.see(shown).moving)
    assert sum(changes[-100:]) <= 5
    assert yard.see(with_object(yard.scene, row=30, column=10)).regions, "elsewhere it still sees"


def test_a_moving_camera_roves_and_settles() -> None:
    yard = Yard()
    wide = np.kron(np.random.default_rng(5).uniform(20, 230, (5, 20)), np.ones((9, 12))).astype(np.float32)
    panned = [yard.see(wide[:, 5 * n : 5 * n + WIDTH]) for n in range(20)]
    assert any(change.roving or change.cut for change in panned)
    assert panned[-1].roving
    still = [yard.see(wide[:, 100 : 100 + WIDTH]) for _ in range(40)]
    assert not still[-1].moving


def test_another_scene_is_a_cut() -> None:
    yard = Yard()
    assert yard.see(scene(seed=9)).cut
    assert not yard.see(scene(seed=9)).cut


def test_a_single_cell_is_noise() -> None:
    yard = Yard()
    assert not yard.see(with_object(yard.scene, size=1)).regions


@pytest.mark.parametrize(("gain", "offset"), [(0.6, 10.0), (1.4, -8.0), (1.0, 0.0)])
def test_exposure_is_fitted_in_spite_of_an_object(gain: float, offset: float) -> None:
    before = scene() * 0.6
    after = with_object((before * gain + offset).astype(np.float32), row=5, column=5, size=25)
    found = exposure(before.astype(np.float32), after, np.ones_like(before, np.float32))
    assert found[0] == pytest.approx(gain, abs=0.02)
    assert found[1] == pytest.approx(offset, abs=1.5)


def test_a_flat_picture_fits_by_offset() -> None:
    flat = np.full((HEIGHT, WIDTH), 100.0, np.float32)
    gain, offset = exposure(flat, flat - 20.0, np.ones_like(flat))
    assert gain * 100.0 + offset == pytest.approx(80.0, abs=1.0)
    assert not cut(flat, flat - 5.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(range(4)), st.floats(-1e6, 1e6)), min_size=1, max_size=12))
def test_any_pictures_and_any_clock_are_taken(shown: list[tuple[int, float]]) -> None:
    pictures = [scene(), np.zeros((HEIGHT, WIDTH), np.float32), np.full((HEIGHT, WIDTH), 255.0, np.float32), scene(3)]
    background = Background()
    for which, time in shown:
        change = background.compare(pictures[which], time)
        assert len(change.regions) <= 16
        for box in change.regions:
            assert 0.0 <= box.left <= box.left + box.width <= 1.0 + 1e-9
