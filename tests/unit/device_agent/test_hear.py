"""From real coded sound to stretches: times, levels, and sound that is damaged, changes or stops."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from device_agent.capture import Packet, read_file
from device_agent.hear import STRETCH, Ears
from device_agent.rules import SoundRules
from device_agent.view import Heard
from foveate.hearing import CHUNK, RATE_HZ, Sound, VoiceMemory
from tests.unit.device_agent.fakes import START, camera

STRETCH_S = STRETCH / RATE_HZ


@dataclass
class LoudIsSpeech:
    """Says 0.9 for every chunk above -30 dB; keeps how often it began without a memory."""

    fresh: int = 0
    sounds: list[Sound] = field(default_factory=list)
    memory: VoiceMemory = field(default_factory=VoiceMemory)

    def speech(self, sound: Sound, memory: VoiceMemory) -> tuple[NDArray[np.float32], VoiceMemory]:
        self.fresh += memory is not self.memory
        self.sounds.append(sound)
        power = np.mean(sound.reshape(-1, CHUNK) ** 2, axis=1)
        return np.where(power > 1e-3, 0.9, 0.1).astype(np.float32), self.memory


def make_sound(
    path: Path, *, codec: str, rate: int = 16_000, seconds: float = 6.0, layout: str = "mono", loud: float = 3.0
) -> Path:
    """Hiss at -50 dB, and from `loud` on a second of noise at -14 dB, beside a black picture."""
    wave = 0.003 * np.random.default_rng(3).standard_normal(round(seconds * rate))
    wave[round(loud * rate) : round((loud + 1) * rate)] += 0.2 * np.random.default_rng(4).standard_normal(rate)
    samples = (np.clip(wave, -1, 1) * 32767).astype(np.int16)
    channels = 2 if layout == "stereo" else 1
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream(codec, rate=rate)
        audio.layout = layout
        for number in range(round(seconds * 10)):
            picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 10)
            container.mux(video.encode(picture))
            part = samples[number * rate // 10 : (number + 1) * rate // 10]
            sound = av.AudioFrame.from_ndarray(np.repeat(part, channels)[None], format="s16", layout=layout)
            sound.sample_rate, sound.pts, sound.time_base = rate, number * rate // 10, Fraction(1, rate)
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def sounds(path: Path) -> list[Packet]:
    return [packet for packet in read_file(path, base=START) if not packet.video]


def ears(voice: LoudIsSpeech | None = None, **rules: bool | float) -> Ears:
    return Ears(voice=voice or LoudIsSpeech(), rules=SoundRules(**rules))  # type: ignore[arg-type]


def heard(listening: Ears, packets: Iterable[Packet]) -> list[Heard]:
    return [item for packet in packets for item in listening.hear(packet)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_sound(tmp_path / "v.mp4", codec="aac")


def assert_contiguous(found: list[Heard]) -> None:
    for before, after in itertools.pairwise(found):
        assert after.time == pytest.approx(before.time + before.duration_s, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [
        ("v.mp4", "aac", 44_100, "stereo"),
        ("v.mp4", "aac", 16_000, "mono"),
        ("v.mov", "pcm_mulaw", 8000, "mono"),
        ("v.mov", "pcm_alaw", 8000, "mono"),
        ("v.mkv", "pcm_s16le", 48_000, "stereo"),
        ("v.mkv", "libopus", 48_000, "mono"),
    ],
)
def test_each_codec_gives_stretches_without_a_gap(
    tmp_path: Path, name: str, codec: str, rate: int, layout: str
) -> None:
    source = make_sound(tmp_path / name, codec=codec, rate=rate, layout=layout)
    found = heard(ears(), read_file(source, base=START))
    assert 10 <= len(found) <= 12
    assert found[0].time == pytest.approx(START, abs=0.1)
    assert_contiguous(found)
    assert all(item.media_time == pytest.approx(item.time - START, abs=1e-4) for item in found)
    loud = [item for item in found if item.level_db > -25]
    assert loud[0].time == pytest.approx(START + 3, abs=STRETCH_S)
    assert len(loud) in (2, 3)
    onsets = [item.time for item in found if item.onset]
    assert onsets[0] <= START + 3 < onsets[0] + STRETCH_S
    assert onsets[-1] <= loud[0].time
    assert max(item.speech for item in loud) == pytest.approx(0.9)
    assert found[1].speech == pytest.approx(0.1)
    assert found[1].level_db == pytest.approx(found[1].floor_db, abs=3)


def test_times_follow_the_speed_of_playing(path: Path) -> None:
    found = heard(ears(), camera(path, speed=4.0).packets())
    assert_contiguous(found)
    assert found[0].duration_s == pytest.approx(STRETCH_S / 4)
    assert found[-1].media_time == pytest.approx((found[-1].time - START) * 4, abs=1e-3)


def test_a_new_run_begins_anew(path: Path) -> None:
    voice, packets = LoudIsSpeech(), sounds(path)
    again = [replace(packet, run=2, time=packet.time + 100) for packet in packets]
    found = heard(ears(voice), [*packets, *again])
    half = len(found) // 2
    assert voice.fresh == 2
    assert found[half].time == pytest.approx(found[0].time + 100, abs=1e-6)
    assert_contiguous(found[half:])
    assert found[half].floor_db < -40  # the room is still known


def test_missing_sound_is_a_gap_and_no_shift(path: Path) -> None:
    voice, packets = LoudIsSpeech(), sounds(path)
    kept = [packet for packet in packets if not START + 1 < packet.time < START + 2]
    found = heard(ears(voice), kept)
    assert voice.fresh == 2
    loud = next(item for item in found if item.onset)
    assert loud.time == pytest.approx(START + 3, abs=STRETCH_S)
    assert not any(START + 1.1 < item.time < START + 1.9 for item in found)


def test_a_slow_sound_card_is_held_to_the_clock(path: Path) -> None:
    drifting = [replace(packet, time=START + (packet.time - START) * 1.05) for packet in sounds(path)]
    voice = LoudIsSpeech()
    found = heard(ears(voice), drifting)
    assert voice.fresh == 1
    assert found[-1].time == pytest.approx(START + found[-1].media_time, abs=0.4)
    assert found[-1].time - found[0].time == pytest.approx((len(found) - 1) * STRETCH_S * 1.05, abs=0.06)


def test_damaged_and_empty_packets_are_logged_once_and_stepped_over(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    packets = sounds(path)
    for index in range(20, 30):
        broken = av.Packet(b"\xff" * 40)
        broken.pts, broken.dts, broken.time_base = packets[index].pts, packets[index].dts, packets[index].tick
        packets[index] = replace(packets[index], data=broken)
    packets.insert(40, replace(packets[40], data=av.Packet(b"\x00")))
    with caplog.at_level(logging.WARNING):
        found = heard(ears(), packets)
    assert any(item.onset and abs(item.time - START - 3) < STRETCH_S for item in found)
    assert 1 <= len([record for record in caplog.records if record.name == "device_agent.hear"]) <= 2


def test_another_rate_and_layout_in_mid_stream_are_taken_up(tmp_path: Path, path: Path) -> None:
    stereo = make_sound(tmp_path / "w.mkv", codec="pcm_s16le", rate=48_000, layout="stereo")
    later = [replace(packet, time=packet.time + 6) for packet in sounds(stereo)]
    found = heard(ears(), [*sounds(path), *later])
    onsets = {round(item.time - START) for item in found if item.onset}
    assert {3, 9} <= onsets <= {2, 3, 8, 9}


def test_what_decodes_to_no_number_does_not_poison_what_follows(tmp_path: Path) -> None:
    voice = LoudIsSpeech()
    listening = ears(voice)
    packet = sounds(make_sound(tmp_path / "v.mkv", codec="pcm_s16le"))[0]
    wild = np.full(STRETCH, np.nan, np.float32)
    wild[::2] = np.inf
    frame = av.AudioFrame.from_ndarray(wild[None], format="flt", layout="mono")
    frame.sample_rate, frame.time_base = RATE_HZ, Fraction(1, RATE_HZ)
    (item,) = listening._take(listening._resampled(frame), packet, START)
    assert np.isfinite([item.level_db, item.floor_db, item.speech]).all()
    assert all(np.isfinite(sound).all() and abs(sound).max() <= 1 for sound in voice.sounds)


def test_rules_may_turn_speech_or_all_of_it_off(path: Path) -> None:
    voice = LoudIsSpeech()
    assert all(item.speech == 0.0 for item in heard(ears(voice, speech=False), sounds(path)))
    assert voice.sounds == []
    assert heard(ears(on=False), sounds(path)) == []


def test_a_camera_without_sound_is_heard_as_nothing(path: Path) -> None:
    assert heard(ears(), (packet for packet in read_file(path, base=START) if packet.video)) == []
