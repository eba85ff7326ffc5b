"""The voice detector with its real weights: what is no speech, what is, and that stretches may be cut anywhere."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from foveate import models
from foveate.errors import NotReady
from foveate.hearing import CHUNK, RATE_HZ, SileroVad, Sound, VoiceMemory

RNG = np.random.default_rng(7)
SECOND = RATE_HZ // CHUNK * CHUNK


@pytest.fixture(scope="module")
def voice() -> SileroVad:
    return SileroVad(models.find("silero-vad"))


def noise(level: float) -> Sound:
    return (level * RNG.standard_normal(4 * SECOND)).astype(np.float32)


def tone(hertz: float) -> Sound:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(4 * SECOND) / RATE_HZ)).astype(np.float32)


@pytest.mark.parametrize(
    "sound", [noise(0.0), noise(0.003), noise(0.1), tone(440.0)], ids=["silence", "hiss", "loud noise", "tone"]
)
def test_what_is_no_speech(voice: SileroVad, sound: Sound) -> None:
    likely, _ = voice.speech(sound, VoiceMemory())
    assert likely.shape == (len(sound) // CHUNK,)
    assert np.median(likely) < 0.2
    assert likely.min() >= 0.0


def test_a_stretch_may_be_cut_anywhere(voice: SileroVad) -> None:
    sound = np.concatenate([noise(0.05), tone(200.0)])
    whole, _ = voice.speech(sound, VoiceMemory())
    memory, parts = VoiceMemory(), []
    for part in (sound[: 3 * CHUNK], sound[3 * CHUNK : 3 * CHUNK], sound[3 * CHUNK :]):
        likely, memory = voice.speech(part, memory)
        parts.append(likely)
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng, which makes the speech, is not installed")
def test_speech_is_told_from_the_silence_around_it(voice: SileroVad, tmp_path: Path) -> None:
    subprocess.run(
        ["espeak-ng", "-w", str(tmp_path / "s.wav"), "Somebody called for help, and nobody came to the door."],
        check=True,
        timeout=20,
    )
    resampler, parts = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ), []
    with av.open(str(tmp_path / "s.wav")) as container:
        for frame in container.decode(audio=0):
            parts += [part.to_ndarray().reshape(-1) for part in resampler.resample(frame)]
    spoken = np.concatenate(parts)
    spoken = spoken[: len(spoken) // CHUNK * CHUNK]
    before = noise(0.001)
    likely, _ = voice.speech(np.concatenate([before, spoken]), VoiceMemory())
    assert np.median(likely[: len(before) // CHUNK]) < 0.1
    assert np.median(likely[len(before) // CHUNK :]) > 0.8


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "silero-vad.onnx").write_text("no network")
    with pytest.raises(NotReady):
        SileroVad(models.find("silero-vad", folder=tmp_path))


def test_all_carried_weights_stay_below_40_megabytes() -> None:
    assert sum(model.size_bytes for model in models.carried()) <= 40e6
