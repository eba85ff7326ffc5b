"""The level, the usual level and sudden rises, on synthetic sound."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.loudness import QUIETEST_DB, Loudness, Measured
from foveate.hearing import CHUNK, RATE_HZ, Sound

STRETCH = 16 * CHUNK
STRETCH_S = STRETCH / RATE_HZ


def noise(seconds: float, decibels: float, seed: int = 1) -> Sound:
    count = round(seconds * RATE_HZ)
    return (10 ** (decibels / 20) * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def heard(loudness: Loudness, sound: Sound) -> list[Measured]:
    return [loudness.measure(sound[start : start + STRETCH]) for start in range(0, len(sound) - STRETCH + 1, STRETCH)]


def with_bursts(sound: Sound, *moments: float, decibels: float = -15.0, seconds: float = 0.06) -> Sound:
    sound = sound.copy()
    burst = noise(seconds, decibels, seed=2)
    for moment in moments:
        start = round(moment * RATE_HZ)
        sound[start : start + len(burst)] += burst
    return sound


def test_a_full_scale_sine_has_minus_three_decibels() -> None:
    sine = np.sin(2 * np.pi * 1000 * np.arange(4 * STRETCH) / RATE_HZ).astype(np.float32)
    assert heard(Loudness(onset_db=15), sine)[-1].level_db == pytest.approx(-3.01, abs=0.1)


def test_silence_and_a_constant_offset_are_silence() -> None:
    for sound in (np.zeros(4 * STRETCH, np.float32), np.full(4 * STRETCH, 0.5, np.float32)):
        last = heard(Loudness(onset_db=15), sound)[-1]
        assert (last.level_db, last.floor_db, last.onset) == (QUIETEST_DB, QUIETEST_DB, False)


def test_steady_noise_is_its_own_floor_and_no_onset() -> None:
    found = heard(Loudness(onset_db=15), noise(60, -45))
    assert not any(item.onset for item in found)
    assert found[-1].level_db == pytest.approx(-45, abs=1)
    assert found[-1].floor_db == pytest.approx(-45, abs=2)


def test_the_floor_follows_a_louder_room_within_20_s_and_a_quieter_one_within_3_s() -> None:
    loudness = Loudness(onset_db=15)
    heard(loudness, noise(10, -55))
    up = heard(loudness, noise(22, -35))
    assert up[round(5 / STRETCH_S)].floor_db < -45
    assert up[-1].floor_db == pytest.approx(-36, abs=2)
    assert heard(loudness, noise(3.1, -55))[-1].floor_db == pytest.approx(-55, abs=2)


def test_a_bang_is_one_onset_and_a_slow_swell_is_none() -> None:
    found = heard(Loudness(onset_db=15), with_bursts(noise(10, -50), 6.2))
    assert [round(index * STRETCH_S, 2) for index, item in enumerate(found) if item.onset] == [6.14]
    swell = noise(10, -50) * np.linspace(0, 3, 10 * RATE_HZ, dtype=np.float32) ** 4
    assert not any(item.onset for item in heard(Loudness(onset_db=15), swell))


def test_a_high_sound_is_heard_above_a_rumble_that_is_louder() -> None:
    spectrum = np.fft.rfft(noise(10, 0))
    hertz = np.fft.rfftfreq(10 * RATE_HZ, 1 / RATE_HZ)
    spectrum[(hertz < 70) | (hertz > 190)] = 0
    rumble = np.fft.irfft(spectrum)
    rumble *= 0.1 / rumble.std()  # -20 dB
    chirp = 0.02 * np.sin(2 * np.pi * 4000 * np.arange(RATE_HZ // 5) / RATE_HZ)  # -37 dB
    rumble[5 * RATE_HZ : 5 * RATE_HZ + len(chirp)] += chirp
    found = heard(Loudness(onset_db=15), (rumble + noise(10, -65)).astype(np.float32))
    onsets = [index * STRETCH_S for index, item in enumerate(found) if item.onset]
    assert onsets
    assert all(4.4 < moment < 5.3 for moment in onsets)


def test_hammering_becomes_usual_and_something_louder_is_still_heard() -> None:
    strokes = [2 + 0.5 * number for number in range(120)]
    sound = with_bursts(with_bursts(noise(64, -50), *strokes, decibels=-30), 60.25, decibels=-8)
    found = heard(Loudness(onset_db=15), sound)
    early = [item.onset for item in found[4:8]]
    late = [index * STRETCH_S for index, item in enumerate(found) if item.onset and index * STRETCH_S > 30]
    assert any(early)
    assert len(late) == 1
    assert late[0] == pytest.approx(60.25, abs=STRETCH_S)


def test_after_an_interruption_nothing_is_sudden_but_the_room_is_still_known() -> None:
    loudness = Loudness(onset_db=15)
    heard(loudness, noise(10, -50))
    loudness.interrupt()
    found = heard(loudness, noise(2, -20))
    assert not any(item.onset for item in found)
    assert found[0].floor_db < -45
