"""Rung 1: what passes by size alone, what does not, and what passes whatever sizes say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.weigh import BLIND_S, LONGEST_S, PATROL_S, PacketGate

GROUP = 30
PIXELS = 768 * 432


def passes(sizes: list[int], *, fps: float = 10.0, group: int = GROUP) -> list[bool]:
    gate = PacketGate()
    return [
        gate.weigh(size=size, pixels=PIXELS, key=number % group == 0, time=number / fps, quiet=True)
        for number, size in enumerate(sizes)
    ]


def quiet(count: int, *, seed: int = 0, noise: float = 0.05) -> list[int]:
    """Key frames of 40 kB, the picture after each 4 kB, the others 2 kB, all within a few percent."""
    chance = np.random.default_rng(seed)
    usual = [40_000 if n % GROUP == 0 else 4_000 if n % GROUP == 1 else 2_000 for n in range(count)]
    return [round(size * float(np.exp(chance.normal(0, noise)))) for size in usual]


@pytest.mark.parametrize("seed", range(5))
def test_a_quiet_stream_passes_little_but_the_patrol(seed: int) -> None:
    passed = passes(quiet(18_000, seed=seed))
    assert sum(passed[300:]) <= 0.07 * 17_700
    key_passes = [number for number, went in enumerate(passed) if went and number % GROUP == 0]
    assert len(key_passes) >= 18_000 // GROUP - 10, "a group lasts longer than PATROL_S, so each key frame passes"


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_a_change_passes_in_either_direction(factor: float) -> None:
    """A bright car darkens the exposure, and its packets get smaller."""
    sizes = quiet(2_000)
    sizes[1_500:1_530] = [round(size * factor) for size in sizes[1_500:1_530]]
    passed = passes(sizes)
    assert all(passed[1_507:1_530])
    assert any(passed[1_531:1_550]), "it stays awake for a moment"
    assert sum(passed[1_700:1_790]) <= 5


def test_what_is_usual_after_a_key_frame_is_no_news() -> None:
    assert not any(passes(quiet(3_000))[n] for n in range(2_000, 3_000) if n % GROUP == 1)


def test_a_lasting_change_becomes_usual() -> None:
    """Rain, or night: the sizes stay different, and in the end that is how this camera is."""
    sizes = [size // 2 for size in quiet(2_000)] + [size * 3 // 2 for size in quiet(4_000, seed=1)]
    passed = passes(sizes)
    assert any(passed[2_000:2_050])
    assert sum(passed[4_000:]) < 0.08 * 2_000


def test_the_patrol_looks_though_nothing_changes() -> None:
    """The first rung alone never decides for longer than PATROL_S and one group that nothing happened."""
    times = [n / 10 for n, went in enumerate(passes([1000] * 6_000)) if went]
    assert np.diff([0.0, *times, 600.0]).max() <= PATROL_S + GROUP / 10
    endless = [n / 10 for n, went in enumerate(passes([1000] * 6_000, group=10**6)) if went]
    assert np.diff([0.0, *endless, 600.0]).max() <= LONGEST_S + 0.1


def test_where_sizes_swing_by_themselves_the_rung_knows_that_it_is_blind() -> None:
    times = [n / 10 for n, went in enumerate(passes(quiet(3_000, noise=1.2))) if went]
    assert np.diff(times).max() <= BLIND_S + 0.2


def test_where_noise_fills_every_picture_the_rung_knows_that_it_is_blind() -> None:
    times = [n / 10 for n, went in enumerate(passes([10 * size for size in quiet(3_000)])) if went]
    assert np.diff(times).max() <= BLIND_S + 0.2


def test_only_quiet_pictures_teach_it_what_is_usual() -> None:
    """A place that is busy from the start never becomes usual, however long it lasts."""
    gate = PacketGate()
    for number, size in enumerate(quiet(600)):
        gate.weigh(size=size, pixels=PIXELS, key=number % GROUP == 0, time=number / 10, quiet=True)
    busy = [3 * size for size in quiet(6_000, seed=1)]
    passed = [
        gate.weigh(size=size, pixels=PIXELS, key=number % GROUP == 0, time=60 + number / 10, quiet=False)
        for number, size in enumerate(busy)
    ]
    assert sum(passed[20:]) > 0.95 * 5_980


def test_pictures_that_are_shown_before_earlier_ones_have_a_usual_size_of_their_own() -> None:
    """P and B pictures take turns; together their sizes would seem to swing."""
    chance, gate, passed = np.random.default_rng(1), PacketGate(), []
    for number in range(1_500):
        forward = number % 3 == 0
        size = round((3_000 if forward else 150) * float(np.exp(chance.normal(0, 0.05))))
        time = (number + 2 if forward else number - 1) / 10
        passed.append(gate.weigh(size=size, pixels=PIXELS, key=number % 300 == 0, time=time, quiet=True))
    assert sum(passed[300:]) < 0.06 * 1_200


def test_a_stream_of_key_frames_passes_whole() -> None:
    passed = passes([9_000] * 50, group=1)
    assert all(passed[7:])


def test_one_picture_a_second_needs_no_smoothing() -> None:
    sizes = quiet(600, noise=0.08)
    sizes[400] *= 4
    assert passes(sizes, fps=1.0)[400]


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(0, 10**7), st.booleans(), st.floats(-1e9, 1e9, allow_nan=False)), min_size=1, max_size=60
    )
)
def test_any_sizes_and_any_clock_are_taken(packets: list[tuple[int, bool, float]]) -> None:
    gate = PacketGate()
    for size, key, time in packets:
        assert gate.weigh(size=size, pixels=PIXELS, key=key, time=time, quiet=size % 2 == 0) in (True, False)
