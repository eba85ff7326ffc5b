"""Masked clips: with real codecs, two clips that differ under the mask only are the same bytes once they are masked."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from device_agent.burn import burn_clip
from device_agent.masks import Masks
from device_agent.polygon import touched
from device_agent.rules import Mask
from foveate.errors import BadVideo
from foveate.vision.blur import redact_clip
from tests.unit.device_agent.fakes import ScriptedDetector, make_video, payloads

WIDTH, HEIGHT, FPS = 160, 120, 10
POLYGON = ((0.25, 0.2), (0.8, 0.25), (0.7, 0.85), (0.3, 0.7))
MASKS = Masks((Mask("window", POLYGON),))
HIDDEN = touched(POLYGON, width=WIDTH, height=HEIGHT)


def lossless(path: Path, *, secret: int, seconds: float = 3.0) -> Path:
    """A moving pattern whose part under the mask is drawn by `secret`, kept exactly."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=FPS)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv444p"
        for number in range(round(seconds * FPS)):
            image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            image[..., 0], image[..., 1] = np.arange(WIDTH), (number * 8) % 256
            hidden = np.random.default_rng(secret + number).integers(0, 255, image.shape, np.uint8)
            image[HIDDEN] = hidden[HIDDEN]
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
    return path


def pictures(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]


def test_not_a_bit_of_what_is_masked_gets_into_the_clip(tmp_path: Path) -> None:
    clips = []
    for secret in (1, 1000):
        source, target = lossless(tmp_path / f"{secret}.mkv", secret=secret), tmp_path / f"{secret}.mp4"
        before = source.read_bytes()
        assert burn_clip(source, target, masks=MASKS) == 0.0
        assert source.read_bytes() == before
        clips.append(target.read_bytes())
    assert clips[0] == clips[1]
    shown = pictures(tmp_path / "1.mp4")
    assert [time for time, _ in shown] == pytest.approx([number / FPS for number in range(30)])
    for (_, image), (_, original) in zip(shown, pictures(tmp_path / "1.mkv"), strict=True):
        assert np.abs(image[40:60, 70:100].astype(int) - 128).max() <= 3
        assert np.abs(image[:20].astype(int) - original[:20]).mean() < 5
        assert np.ptp(original[40:60, 70:100]) > 100


def test_nor_into_a_redacted_one(tmp_path: Path) -> None:
    clips = []
    for secret in (1, 1000):
        source, target = lossless(tmp_path / f"{secret}.mkv", secret=secret), tmp_path / f"{secret}.mp4"
        seen = Looked()
        redact_clip(source, target, detector=seen, prepare=MASKS.burn)
        clips.append((target.read_bytes(), seen.hidden))
    assert clips[0] == clips[1]
    assert set(clips[0][1]) == {128}


class Looked(ScriptedDetector):
    """Notes what it sees under the mask."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: list[int] = []

    def detect(self, image: np.ndarray) -> tuple:
        self.hidden += [int(image[HIDDEN].min()), int(image[HIDDEN].max())]
        return super().detect(image)


@pytest.mark.parametrize(("suffix", "sound"), [(".mp4", True), (".mov", True), (".mkv", True), (".mp4", False)])
def test_sound_is_copied_and_stays_where_it_was(tmp_path: Path, suffix: str, sound: bool) -> None:
    source = make_video(tmp_path / f"v{suffix}", sound=sound)
    target = tmp_path / f"t{suffix}"
    assert burn_clip(source, target, masks=MASKS) == pytest.approx(0.0)
    assert pictures(target)[0][0] == 0.0
    assert len(pictures(target)) == len(pictures(source)) == 60
    heard, copied = payloads(source, "audio"), payloads(target, "audio")
    assert bool(heard) is sound
    assert copied == heard[len(heard) - len(copied) :]
    assert len(copied) >= len(heard) - 1
    if sound:
        with av.open(str(target)) as container:
            packets = [packet for packet in container.demux(audio=0) if packet.size]
            assert float(packets[0].pts * packets[0].time_base) < 0.15


@pytest.mark.parametrize(("skip", "begin"), [(0.0, 0.0), (1.25, 1.2), (1.3, 1.3), (5.5, 5.5)])
def test_it_begins_with_the_picture_on_view_and_its_sound(tmp_path: Path, skip: float, begin: float) -> None:
    source, target = make_video(tmp_path / "v.mp4", sound=True), tmp_path / "t.mp4"
    assert burn_clip(source, target, masks=MASKS, skip=skip) == pytest.approx(begin, abs=1e-3)
    shown = pictures(target)
    assert shown[0][0] == 0.0
    assert len(shown) == round((6.0 - begin) * FPS)
    with av.open(str(target)) as container:
        last = max(float(packet.pts * packet.time_base) for packet in container.demux(audio=0) if packet.size)
    assert last == pytest.approx(6.0 - begin, abs=0.3)


def test_past_the_end_the_last_picture_is_on_view(tmp_path: Path) -> None:
    source, target = make_video(tmp_path / "v.mp4", sound=True), tmp_path / "t.mp4"
    assert burn_clip(source, target, masks=MASKS, skip=9.0) == pytest.approx(5.9, abs=1e-3)
    assert len(pictures(target)) == 1


def test_damaged_pictures_are_left_out(tmp_path: Path) -> None:
    source, target = make_video(tmp_path / "v.mp4", gop=1), tmp_path / "t.mp4"
    data = bytearray(source.read_bytes())
    for number in (0, 20, 21):
        coded = payloads(source, "video")[number]
        at = bytes(data).index(coded)
        data[at : at + len(coded)] = bytes(len(coded))
    source.write_bytes(data)
    assert burn_clip(source, target, masks=MASKS) == pytest.approx(0.1)
    times = [round(time * FPS) for time, _ in pictures(target)]
    assert times == [number for number in range(59) if number not in (19, 20)]


def test_what_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    source, target = make_video(tmp_path / "v.mp4"), tmp_path / "t.mp4"
    data = bytearray(source.read_bytes())
    for coded in payloads(source, "video"):
        at = bytes(data).index(coded)
        data[at : at + len(coded)] = bytes(len(coded))
    source.write_bytes(data)
    with pytest.raises(BadVideo):
        burn_clip(source, target, masks=MASKS)
    assert not target.exists()
