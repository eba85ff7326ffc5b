"""Small classes of the device's own seams: a clock that jumps to where it is awaited, a detector that says what it is
told, and videos made on the spot."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from device_agent.capture import FileCamera
from device_agent.frames import Frame
from device_agent.record import Recorder
from device_agent.rules import Retention
from device_agent.view import Followed, View
from foveate.messages import Event, LabelScore, Sighting, Track
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection, Picture

START = 1_700_000_000.0


@dataclass
class JumpingClock:
    """Never blocks: waiting moves it."""

    time: float = START

    def now(self) -> float:
        return self.time

    def wait_until(self, moment: float, stop: threading.Event) -> None:
        self.time = max(self.time, moment)


@dataclass
class ScriptedDetector:
    """Finds in every picture what it was told to."""

    found: tuple[Detection, ...] = ()
    looked: int = 0

    def detect(self, image: Picture) -> tuple[Detection, ...]:
        self.looked += 1
        return self.found


@dataclass
class StillEyes:
    """What a pipeline has seen, frozen."""

    newest: Frame | None = None
    view: View | None = None
    open_events: tuple[Event, ...] = ()
    trouble: str = ""


@dataclass
class Ids:
    """event-1, event-2, ..."""

    made: list[str] = field(default_factory=list)

    def __call__(self) -> str:
        self.made.append(f"event-{len(self.made) + 1}")
        return self.made[-1]


def detection(label: str, score: float, *, left: float = 0.4, top: float = 0.4, size: float = 0.2) -> Detection:
    return Detection(label, score, Box(left, top, size, size))


def frame(time: float, *, width: int = 64, height: int = 48) -> Frame:
    picture = np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)
    return Frame(av.VideoFrame.from_ndarray(picture, format="rgb24"), time=time, media_time=time - START, index=0)


def followed(track_id: int, label: str, *, start: float, end: float, score: float = 0.6) -> Followed:
    box = Box(0.4, 0.4, 0.2, 0.2)
    sightings = (Sighting(start, label, score, box), Sighting(end, label, score, box))
    return Followed(Track(track_id, label, score, start, end, sightings), (LabelScore(label, score),), start - START)


def make_video(
    path: Path, *, seconds: float = 6.0, fps: int = 10, gop: int = 10, codec: str = "mpeg4", sound: bool = False
) -> Path:
    """A small moving pattern, with a tone when there is sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=fps)
        video.width, video.height, video.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        video.gop_size = gop
        audio = container.add_stream("pcm_mulaw" if path.suffix == ".mov" else "aac", rate=8000) if sound else None
        for number in range(round(seconds * fps)):
            image = np.zeros((48, 64, 3), np.uint8)
            image[:, number % 60 : number % 60 + 4] = 255
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, fps)
            container.mux(video.encode(picture))
            if audio is not None:
                container.mux(audio.encode(_tone(number * 8000 // fps, 8000 // fps)))
        container.mux(video.encode(None))
        if audio is not None:
            container.mux(audio.encode(None))
    return path


def _tone(first: int, count: int) -> av.AudioFrame:
    wave = (8000 * np.sin(np.arange(first, first + count) / 5)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 8000, first, Fraction(1, 8000)
    return frame


def camera(path: Path, *, loop: bool = False, speed: float = 1.0, clock: JumpingClock | None = None) -> FileCamera:
    return FileCamera(path, loop=loop, speed=speed, clock=clock or JumpingClock(), stop=threading.Event())


def recorded(path: Path, folder: Path, *, max_bytes: int = 1 << 30, max_seconds: float = 3600.0) -> Recorder:
    """A recorder that has taken in the whole file and is still writing."""
    retention = Retention(max_bytes=max_bytes, idle_s=max_seconds)
    recorder = Recorder(folder, retention=retention, free_bytes=lambda _: 1 << 40)
    for packet in camera(path).packets():
        recorder.record(packet)
    return recorder


def payloads(path: Path, kind: str) -> list[bytes]:
    """The coded packets of one stream."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux() if packet.size and packet.stream.type == kind]
