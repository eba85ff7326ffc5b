"""Where somebody speaks: spans from likelihoods, and sound out of files of any kind."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from edge_node.sound import LONGEST_S, Span, sound_of, spans, speech_in
from foveate import models
from foveate.errors import BadVideo
from foveate.hearing import RATE_HZ, SileroVad

CHUNK_S = 0.032


def likely(*stretches: tuple[float, int]) -> np.ndarray:
    return np.concatenate([np.full(count, value, np.float32) for value, count in stretches])


def recording(path: Path, sound: np.ndarray, *, rate: int = 8000) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        whole = (sound * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_speech_begins_at_a_half_ends_below_a_third_and_survives_a_breath() -> None:
    found = spans(likely((0.0, 10), (0.9, 20), (0.4, 5), (0.6, 5), (0.1, 15), (0.8, 20), (0.0, 40), (0.7, 30)))
    assert [(round(s.start / CHUNK_S), round(s.end / CHUNK_S)) for s in found] == [(10, 75), (115, 145)]


def test_a_click_is_no_speech() -> None:
    assert spans(likely((0.0, 5), (0.95, 4), (0.0, 30))) == ()
    assert spans(np.zeros(0, np.float32)) == ()


def test_spans_know_what_they_share() -> None:
    assert Span(0, 2).shared(Span(1, 5)) == 1
    assert Span(0, 1).shared(Span(2, 3)) == 0


def test_sound_comes_at_16_khz_and_is_bounded(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(np.arange(8000 * 40) * 2 * np.pi * 440 / 8000)
    track = sound_of(recording(tmp_path / "tone.wav", tone))
    assert track is not None
    assert track.first == 0.0
    assert len(track.sound) == LONGEST_S * RATE_HZ
    assert np.abs(track.sound).max() == pytest.approx(0.5, abs=0.05)


def test_a_tone_and_silence_hold_no_speech() -> None:
    voice = SileroVad(models.find("silero-vad"))
    tone = 0.3 * np.sin(np.arange(RATE_HZ * 3) * 2 * np.pi * 440 / RATE_HZ).astype(np.float32)
    assert speech_in(tone, voice) == ()
    assert speech_in(np.zeros(RATE_HZ, np.float32), voice) == ()
    assert speech_in(np.zeros(100, np.float32), voice) == ()


def test_a_film_without_sound_has_none_and_what_is_no_media_is_bad(tmp_path: Path) -> None:
    silent = tmp_path / "silent.mp4"
    with av.open(str(silent), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        container.mux(stream.encode(None))
    assert sound_of(silent) is None
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"no media" * 100)
    with pytest.raises(BadVideo):
        sound_of(junk)
