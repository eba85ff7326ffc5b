"""Perceiving: few key frames with ids that repeat, their text, and speech with times by the device's clock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from edge_node.fetch import Clip
from edge_node.perceive import Perceive, embedded
from edge_node.read import Line
from edge_node.transcribe import Heard, Transcript
from edge_node.wanted import Moment
from foveate.errors import BadVideo, NotReady
from foveate.hearing import CHUNK, RATE_HZ, Sound, VoiceMemory
from foveate.messages import ClipHeader, Event, Representation, TriggerKind
from foveate.vision.boxes import Box
from foveate.vision.detect import Picture
from foveate.vision.draw import read_jpeg
from foveate.vision.encode import Encoding

T = 1_700_000_000.0
FPS, SECONDS = 10, 6
EVENT = Event("e-1", 2, "cam", "north", "eu", TriggerKind.OBJECT, T + 0.5, T + 5.5, False, 0.5)
MOMENT = Moment("e-1", 0, "cam", 2, False, T, T + 6, 0)


class Grey:
    """Encodes a picture by how bright it is: an angle."""

    model_tag = "grey@1"

    def encode(self, image: Picture) -> Encoding:
        angle = float(image.mean()) / 255 * np.pi / 2
        vector = np.array([np.cos(angle), np.sin(angle)], np.float32)
        return Encoding(vector, np.resize(vector / np.linalg.norm(vector) / 14, 384).astype(np.float32))


class OneLine:
    """Reads the same on every picture."""

    def __init__(self) -> None:
        self.read_pictures = 0

    def read(self, picture: Picture) -> tuple[Line, ...]:
        self.read_pictures += 1
        return (Line("EXIT", 0.9, Box(0.1, 0.1, 0.2, 0.1)),)


class Loud:
    """Takes whatever is loud for speech."""

    def speech(self, sound: Sound, memory: VoiceMemory) -> tuple[np.ndarray, VoiceMemory]:
        return (np.abs(sound.reshape(-1, CHUNK)).max(axis=1) > 0.1).astype(np.float32), memory


class Hello:
    """Hears one sentence over the whole sound."""

    def recognise(self, sound: Sound) -> Transcript:
        whole = Heard(0.2, len(sound) / RATE_HZ - 0.2, " Hello there.", -0.1, 0.01, 1.0)
        return Transcript("en", 0.99, (whole,))


def film(path: Path, *, pictures: bool = True, sound: bool = False) -> Clip:
    """Grey that grows brighter, with squared paper on it to be sharp; a tone from 2 s to 4 s."""
    with av.open(str(path), "w", format="matroska") as container:
        video = container.add_stream("mpeg4", rate=FPS) if pictures else None
        audio = container.add_stream("pcm_s16le", rate=16000, layout="mono") if sound else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
            for number in range(FPS * SECONDS):
                picture = np.full((96, 160, 3), 4 * number, np.uint8)
                picture[::16] = picture[:, ::16] = 255
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(video.encode(None))
        if audio is not None:
            time = np.arange(16000 * SECONDS) / 16000
            wave = np.where((time >= 2) & (time < 4), 0.5 * np.sin(time * 2 * np.pi * 440), 0)
            for block in np.split((wave * 32767).astype(np.int16), 60):
                frame = av.AudioFrame.from_ndarray(block[None], format="s16", layout="mono")
                frame.sample_rate = 16000
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    size = path.stat().st_size
    header = ClipHeader("c-1", "cam", T, T + SECONDS, size, b"", "video/x-matroska", Representation.CLIP)
    return Clip(replace(header, media_offset=100.0), path)


def perceive(**changes: object) -> Perceive:
    chosen = {"encoder": Grey, "voice": Loud, "reader": OneLine, "recogniser": Hello} | changes
    return Perceive(**chosen)  # type: ignore[arg-type]


def test_few_unlike_pictures_are_kept_with_text_time_and_place(tmp_path: Path) -> None:
    found = perceive().look(film(tmp_path / "a.mkv"), EVENT, MOMENT, most=3)
    assert 2 <= len(found.frames) <= 3
    assert len({frame.key_frame_id for frame in found.frames}) == len(found.frames)
    assert len(found.written) == len(found.frames)
    assert found.spoken == ()
    for frame, line in zip(found.frames, found.written, strict=True):
        assert T < frame.time < T + 6
        assert frame.media_offset == pytest.approx(100.0 + frame.time - T, abs=0.02)
        assert frame.embedding is not None
        assert (frame.embedding.model, len(frame.embedding.values)) == ("grey@1", 384)
        assert read_jpeg(frame.picture).shape == (96, 160, 3)
        assert (line.key_frame_id, line.time, line.text) == (frame.key_frame_id, frame.time, "EXIT")
    assert [frame.time for frame in found.frames] == sorted(frame.time for frame in found.frames)


def test_the_same_moment_has_the_same_ids_again_and_another_part_others(tmp_path: Path) -> None:
    clip, looks = film(tmp_path / "a.mkv"), perceive()
    first, again = (looks.look(clip, EVENT, MOMENT, most=2) for _ in range(2))
    assert [frame.key_frame_id for frame in first.frames] == [frame.key_frame_id for frame in again.frames]
    other = looks.look(clip, EVENT, replace(MOMENT, part=1), most=2)
    assert not {frame.key_frame_id for frame in other.frames} & {frame.key_frame_id for frame in first.frames}


def test_a_clip_that_is_longer_than_its_moment_is_looked_at_within_it(tmp_path: Path) -> None:
    clip = film(tmp_path / "a.mkv", sound=True)
    found = perceive().look(clip, EVENT, replace(MOMENT, start=T + 4.5, end=T + 5.5), most=3)
    assert all(T + 4.5 < frame.time < T + 5.5 for frame in found.frames)
    assert found.spoken == ()  # the tone is before it


def test_what_is_said_has_the_time_of_the_device(tmp_path: Path) -> None:
    found = perceive().look(film(tmp_path / "a.mkv", sound=True), EVENT, MOMENT, most=1)
    (said,) = found.spoken
    assert (said.text, said.language, said.event_id, said.device_id) == ("Hello there.", "en", "e-1", "cam")
    assert (said.start - T, said.end - T) == (pytest.approx(2.0, abs=0.1), pytest.approx(4.0, abs=0.1))


def test_sound_without_pictures_is_heard(tmp_path: Path) -> None:
    found = perceive().look(film(tmp_path / "a.mkv", pictures=False, sound=True), EVENT, MOMENT, most=3)
    assert found.frames == ()
    assert found.spoken[0].start - T == pytest.approx(2.0, abs=0.1)


def test_what_cannot_be_read_at_all_is_bad_video(tmp_path: Path) -> None:
    path = tmp_path / "junk.mkv"
    path.write_bytes(b"\x00" * 5000)
    header = ClipHeader("c-1", "cam", T, T + 6, 5000, b"", "video/mp4", Representation.CLIP)
    with pytest.raises(BadVideo):
        perceive().look(Clip(header, path), EVENT, MOMENT, most=3)


def test_models_are_opened_when_first_needed_and_missing_ones_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened: list[str] = []

    def missing() -> OneLine:
        opened.append("reader")
        raise NotReady("Text in pictures is not read here; install it.")

    def recogniser() -> Hello:
        opened.append("recogniser")
        return Hello()

    looks = perceive(reader=missing, recogniser=recogniser)
    assert opened == []
    for _ in range(2):
        found = looks.look(film(tmp_path / "a.mkv"), EVENT, MOMENT, most=1)
        assert (len(found.frames), found.written) == (1, ())
    assert opened == ["reader"]
    assert caplog.text.count("not read here") == 1
    looks.look(film(tmp_path / "b.mkv", sound=True), EVENT, MOMENT, most=1)
    assert opened == ["reader", "recogniser"]


def test_without_reader_and_recogniser_pictures_are_kept_all_the_same(tmp_path: Path) -> None:
    looks = perceive(reader=None, recogniser=None)
    found = looks.look(film(tmp_path / "a.mkv", sound=True), EVENT, MOMENT, most=1)
    assert (len(found.frames), found.written, found.spoken) == (1, (), ())


def test_the_embedded_default_encodes_with_the_carried_networks_and_says_what_it_cannot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    looks = embedded(text_folder=tmp_path)
    found = looks.look(film(tmp_path / "a.mkv"), EVENT, MOMENT, most=1)
    (frame,) = found.frames
    assert frame.embedding is not None
    assert frame.embedding.model.startswith("conse-lite0-minilm@")
    assert len(frame.embedding.values) == 384
    assert found.written == ()
    assert "put the file there" in caplog.text
