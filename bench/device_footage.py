"""Makes the cameras of `device.py`: 768x576 at 10 frames/s in H.264, a key frame each second. Derived footage.

In: any clip. Out: a busy scene, the clip itself, scaled and resampled, and a still one, its first picture under sensor
noise that is new in every frame. Agents play both in a loop. Encoded by libx264 from the PyAV wheel, which only
benches use.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, FPS = 768, 576, 10
STILL_S = 30
LONGEST_S = 60.0
_NOISE = 2.0  # grey levels, one standard deviation: an ordinary sensor in a lit room
_OPTIONS = {"preset": "veryfast", "tune": "zerolatency", "x264-params": "scenecut=0:threads=1"}

Planes = NDArray[np.uint8]


def busy(clip: Path, target: Path) -> Path:
    """The first minute of the clip at most, its pictures chosen by their times."""
    return _encoded(target, _resampled(clip))


def still(clip: Path, target: Path, *, seed: int = 1) -> Path:
    """Half a minute of the clip's first picture, with noise on its luma."""
    return _encoded(target, _noisy(next(_resampled(clip)), seed))


def _resampled(clip: Path) -> Iterator[Planes]:
    with av.open(str(clip)) as container:
        due, first = 0.0, None
        for frame in container.decode(video=0):
            time = float(frame.time or 0.0)
            first = time if first is None else first
            if time - first > LONGEST_S:
                return
            if time - first >= due - 1e-6:
                due += 1 / FPS
                yield frame.reformat(WIDTH, HEIGHT, "yuv420p").to_ndarray()


def _noisy(planes: Planes, seed: int) -> Iterator[Planes]:
    random = np.random.default_rng(seed)
    for _ in range(STILL_S * FPS):
        noise = random.normal(0.0, _NOISE, (HEIGHT, WIDTH))
        seen = planes.copy()
        seen[:HEIGHT] = np.clip(planes[:HEIGHT] + noise, 0, 255).astype(np.uint8)
        yield seen


def _encoded(target: Path, pictures: Iterator[Planes]) -> Path:
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", FPS
        for number, planes in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target
