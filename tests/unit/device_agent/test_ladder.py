"""The rungs together: what each sees, what wakes the next, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from device_agent import funnel as rung
from device_agent.capture import read_file
from device_agent.frames import Decoder
from device_agent.funnel import Funnel
from device_agent.govern import Allowance
from device_agent.ladder import Ladder
from device_agent.look import Looker, OneEye
from device_agent.view import View
from device_agent.weigh import PacketGate
from foveate.commands import Rung
from foveate.vision.detect import Picture
from foveate.vision.encode import Encoding

from .fakes import START, ScriptedDetector, detection

WIDTH, HEIGHT = 160, 96


@dataclass
class PlainEncoder:
    """Coarse luma as a vector: pictures that look alike have vectors that point the same way."""

    model_tag: str = "luma@1"
    encoded: list[Picture] = field(default_factory=list)

    def encode(self, image: Picture) -> Encoding:
        self.encoded.append(image)
        grey = image.mean(axis=2)
        rows, columns = (np.array_split(np.arange(side), 8) for side in grey.shape)
        cells = np.array([[grey[np.ix_(r, c)].mean() for c in columns] for r in rows], np.float32).ravel()
        vector = (cells - cells.mean()) / max(float(np.linalg.norm(cells - cells.mean())), 1e-6)
        return Encoding(vector.astype(np.float32), vector.astype(np.float32))


def yard() -> NDArray[np.float32]:
    chance = np.random.default_rng(4)
    return np.kron(chance.uniform(60, 160, (6, 10)), np.ones((16, 16)))[..., None] * np.ones(3)


def film(
    path: Path,
    paint: Callable[[int, NDArray[np.float32]], None],
    *,
    frames: int,
    fps: int = 2,
    between: int = 0,
) -> Path:
    """A noisy yard in H.264; `paint` changes each picture."""
    chance = np.random.default_rng(2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 20
        stream.options = {"preset": "ultrafast", "crf": "30", "x264-params": f"scenecut=0:bframes={between}:b-adapt=0"}
        for number in range(frames):
            image = yard()
            paint(number, image)
            image = np.clip(image + chance.normal(0, 1.0, image.shape), 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@dataclass
class Climbed:
    views: list[View]
    rungs: dict[str, Rung]
    detector: ScriptedDetector
    encoder: PlainEncoder
    ladder: Ladder
    looker: Looker


def climb(path: Path, *, allowance: Allowance | None = None, found: bool = False, late: bool = False) -> Climbed:
    detector = ScriptedDetector((detection("person", 0.8),) if found else ())
    encoder, funnel, decoder = PlainEncoder(), Funnel(), Decoder()
    looker = Looker(eye=OneEye(detector), encoder=encoder, funnel=funnel, allowance=lambda: allowance or Allowance())
    ladder = Ladder(gate=PacketGate(), decoder=decoder, looker=looker, funnel=funnel, fps=5.0)
    views = [view for packet in read_file(path, base=START) for view in ladder.climb(packet, late=late)]
    return Climbed(views, {item.name: item for item in funnel.rungs}, detector, encoder, ladder, looker)


def nothing(number: int, image: NDArray[np.float32]) -> None:
    """An empty yard."""


def passer_by(number: int, image: NDArray[np.float32]) -> None:
    """Somebody crosses between pictures 300 and 320."""
    if 300 <= number < 320:
        left = 10 + (number - 300) * 6
        image[30:70, left : left + 15] = 235


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Climbed:
    return climb(film(tmp_path_factory.mktemp("empty") / "v.mkv", nothing, frames=500))


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Climbed:
    return climb(film(tmp_path_factory.mktemp("crossed") / "v.mkv", passer_by, frames=500))


def test_an_empty_yard_costs_next_to_nothing(empty: Climbed) -> None:
    assert empty.rungs[rung.PACKETS].seen == 500
    assert empty.rungs[rung.LUMA].seen < 170
    assert empty.rungs[rung.DETECTOR].seen < 20
    assert empty.rungs[rung.ENCODER].seen <= 3
    assert not empty.looker.awake


def test_each_rung_sees_less_than_the_one_below(crossed: Climbed) -> None:
    seen = [crossed.rungs[name].seen for name in (rung.PACKETS, rung.LUMA, rung.DETECTOR)]
    assert seen == sorted(seen, reverse=True)
    assert all(item.cpu_seconds > 0.0 for name, item in crossed.rungs.items() if name != rung.EVENTS)


def test_a_passer_by_is_looked_at_from_the_first_picture_to_the_last(crossed: Climbed) -> None:
    looked = [round((view.time - START) * 2) for view in crossed.views if view.looked and view.moving]
    within = [number for number in looked if 298 <= number <= 321]
    assert within[0] <= 302
    assert len(within) >= 16
    assert [number for number in looked if number > 30 and number not in within] == []


def test_what_woke_the_detector_is_told_as_resemblance(crossed: Climbed) -> None:
    boxes = [item.box for view in crossed.views for item in view.resemblances if item.box is not None]
    assert len(boxes) == 1
    assert boxes[0].height > 0.2


def test_the_first_pictures_are_a_start(crossed: Climbed) -> None:
    assert crossed.views[0].start
    assert crossed.views[0].looked
    assert not crossed.views[-1].start


def test_light_alone_never_reaches_the_detector(tmp_path: Path) -> None:
    def clouds(number: int, image: NDArray[np.float32]) -> None:
        if number >= 300:
            image *= 0.75

    climbed = climb(film(tmp_path / "v.mkv", clouds, frames=500))
    assert not [view for view in climbed.views if view.looked and view.time > START + 100]


def test_the_encoder_refuses_what_still_looks_the_same(tmp_path: Path) -> None:
    """A shadow falls on a corner: luma changes, the pattern does not; the encoder holds the detector back."""

    def shadow(number: int, image: NDArray[np.float32]) -> None:
        if 300 <= number < 340:
            image[0:30, 0:50] *= 0.8 if number % 2 else 0.65

    climbed = climb(film(tmp_path / "v.mkv", shadow, frames=400))
    assert climbed.rungs[rung.ENCODER].seen > 2
    assert climbed.rungs[rung.ENCODER].passed <= 1


def test_a_still_object_is_seen_without_being_looked_at_for_ever(tmp_path: Path) -> None:
    def parks(number: int, image: NDArray[np.float32]) -> None:
        if number >= 200:
            image[50:80, 20:60] = 230

    climbed = climb(film(tmp_path / "v.mkv", parks, frames=500), found=True)
    late = [view for view in climbed.views if view.time > START + 200]
    assert sum(view.looked for view in late) < 10
    assert late[-1].followed, "it is still there"


def test_reordered_pictures_are_waited_for(tmp_path: Path) -> None:
    """A codec gives a picture out some packets after its own; whoever wakes must not fall asleep before it comes."""
    climbed = climb(film(tmp_path / "v.mkv", passer_by, frames=400, between=3))
    looked = [view.time - START for view in climbed.views if view.looked and view.moving]
    assert sum(150 <= time <= 160 for time in looked) >= 14


def test_late_packets_are_decoded_and_not_looked_at(tmp_path: Path) -> None:
    climbed = climb(film(tmp_path / "v.mkv", passer_by, frames=100), late=True)
    assert climbed.views == []
    assert climbed.ladder.skipped > 0


def test_an_allowance_slows_the_detector_down(tmp_path: Path) -> None:
    path = film(tmp_path / "v.mkv", passer_by, frames=500)
    assert climb(path, allowance=Allowance(look_s=2.0)).detector.looked < climb(path).detector.looked


def test_a_stream_of_key_frames_starts_one_rung_up(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=2)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for number in range(60):
            image = yard()
            if number == 40:
                image[30:70, 50:65] = 235
            frame = av.VideoFrame.from_ndarray(np.clip(image, 0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 2)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    climbed = climb(path)
    assert climbed.rungs[rung.LUMA].seen == 60
    assert climbed.rungs[rung.DETECTOR].seen < 40
    assert any(view.moving for view in climbed.views if abs(view.time - START - 20) < 0.1)


def test_reordered_pictures_at_few_a_second_all_come_in_their_places(tmp_path: Path) -> None:
    """Such a file gives its first pictures no decoding times, and then ones that lie before them."""
    packets = list(read_file(film(tmp_path / "v.mkv", nothing, frames=120, between=3), base=START))
    assert sorted(round(2 * (packet.time - START)) for packet in packets) == list(range(120))
    assert [packet.dts for packet in packets] == sorted({packet.dts for packet in packets})
    assert len({packet.run for packet in packets}) == 1
