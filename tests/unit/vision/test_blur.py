"""Redacted clips: a person is hidden in every picture, the ones in which the detector missed them as well."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from foveate.errors import BadVideo
from foveate.vision.blur import redact_clip
from foveate.vision.detect import Detection, Picture
from tests.unit.device_agent.fakes import ScriptedDetector, detection, make_video


class Forgetful(ScriptedDetector):
    """Finds its person in every third picture only."""

    def detect(self, image: Picture) -> tuple[Detection, ...]:
        found = super().detect(image)
        return found if self.looked % 3 == 1 else ()


def _noise(path: Path) -> Path:
    """Four seconds of noise: whatever is not hidden keeps its contrast."""
    random = np.random.default_rng(3)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt, video.bit_rate = 160, 120, "yuv420p", 8_000_000
        image = random.integers(0, 255, (15, 20, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        for _ in range(40):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
    return path


def test_a_missed_person_is_hidden_on_the_way_between_two_finds(tmp_path: Path) -> None:
    person = detection("person", 0.25, left=0.25, top=0.2, size=0.5)
    redact_clip(_noise(tmp_path / "v.mp4"), tmp_path / "r.mp4", detector=Forgetful((person,)))
    with av.open(str(tmp_path / "r.mp4")) as clip:
        assert not clip.streams.audio
        pictures = [(frame.time, frame.to_ndarray(format="gray")) for frame in clip.decode(video=0)]
    assert len(pictures) == 12
    assert pictures[-1][0] == pytest.approx(3.7, abs=0.15)
    for _, picture in pictures:
        assert np.ptp(picture[40:72, 60:100]) < 0.8 * np.ptp(picture[:, :24])


def test_the_middle_is_shown_where_nobody_is(tmp_path: Path) -> None:
    redact_clip(_noise(tmp_path / "v.mp4"), tmp_path / "r.mp4", detector=ScriptedDetector())
    with av.open(str(tmp_path / "r.mp4")) as clip:
        for frame in clip.decode(video=0):
            picture = frame.to_ndarray(format="gray")
            assert np.ptp(picture[40:72, 60:100]) > 0.8 * np.ptp(picture[:, :24])


@pytest.mark.parametrize(("skip", "begin", "count"), [(0.0, 0.0, 12), (1.25, 1.2, 9), (9.0, 3.9, 1)])
def test_it_begins_with_the_picture_on_view_when_it_was_asked_for(
    tmp_path: Path, skip: float, begin: float, count: int
) -> None:
    source = _noise(tmp_path / "v.mp4")
    began = redact_clip(source, tmp_path / "r.mp4", detector=ScriptedDetector(), skip=skip)
    assert began == pytest.approx(begin, abs=0.01)
    with av.open(str(tmp_path / "r.mp4")) as clip:
        assert len(list(clip.decode(video=0))) == count


def test_what_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    source = make_video(tmp_path / "v.mp4")
    data = bytearray(source.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    source.write_bytes(data)
    with pytest.raises(BadVideo):
        redact_clip(source, tmp_path / "r.mp4", detector=ScriptedDetector())
    assert not (tmp_path / "r.mp4").exists()


def test_what_lies_after_the_asked_end_is_left_out(tmp_path: Path) -> None:
    redact_clip(_noise(tmp_path / "v.mp4"), tmp_path / "r.mp4", detector=ScriptedDetector(), skip=1.0, until=2.0)
    with av.open(str(tmp_path / "r.mp4")) as clip:
        times = [frame.time for frame in clip.decode(video=0)]
    assert len(times) == 4
    assert times[-1] <= 1.1
