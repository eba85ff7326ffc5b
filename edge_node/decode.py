"""From a clip to pictures with the time at which each was taken.

In: a media file and its header. Out: RGB pictures, at most so many, with Unix seconds by the device's clock.
Blocking: callers on an event loop use a thread. It knows no detector. Next: `look.py`, which looks at them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from foveate.errors import BadVideo
from foveate.messages import ClipHeader
from foveate.vision.detect import Picture

LONG_SIDE = 960
_SAME_RATE = 0.03  # a file played at its own speed; less than that is rounding of the clip's ends


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture, RGB, its longer side at most 960, and when it was taken (Unix seconds, device clock)."""

    time: float
    picture: Picture


@dataclass(frozen=True, slots=True)
class Timeline:
    """How a clip's own time maps to the clock: `first` is its first picture's time in the file, in seconds."""

    start: float
    first: float
    rate: float

    def at(self, media: float) -> float:
        """Unix seconds of a time in the file."""
        return self.start + (media - self.first) / self.rate


def timeline(path: Path, header: ClipHeader) -> Timeline:
    """The mapping, read from the packets without decoding; BadVideo when there are none."""
    times = []
    try:
        with av.open(str(path)) as container:
            for packet in container.demux(_video(container, path)):
                if packet.size and packet.pts is not None and packet.time_base is not None:
                    times.append(float(packet.pts * packet.time_base))
                    times.append(float((packet.pts + (packet.duration or 0)) * packet.time_base))
    except (av.FFmpegError, OSError) as error:
        raise _bad(path) from error
    if not times:
        raise _bad(path)
    media, wall = max(times) - min(times), header.end - header.start
    rate = media / wall if media > 0 and wall > 0 else 1.0
    return Timeline(header.start, min(times), 1.0 if abs(rate - 1.0) <= _SAME_RATE else rate)


def frames(path: Path, clock: Timeline, *, start: float, end: float, step: float, most: int) -> tuple[Frame, ...]:
    """Pictures from `start` to `end` (Unix seconds), at least `step` seconds apart, at most `most`, in order.

    BadVideo when not one picture can be read; a clip that breaks off midway gives what came before.
    """
    found: list[Frame] = []
    due = start - 1e-4
    try:
        for time, picture in _decoded(path, clock):
            if time > end + 1e-4 or len(found) == most:
                break
            if time >= due:
                found.append(Frame(time, _small(picture)))
                # Keeps to the grid, so that rounding of frame times does not add up to missed frames.
                due = max(due + step, time + step / 2)
    except (av.FFmpegError, OSError) as error:
        if not found:
            raise _bad(path) from error
    return tuple(found)


def _decoded(path: Path, clock: Timeline) -> Iterator[tuple[float, av.VideoFrame]]:
    with av.open(str(path)) as container:
        stream = _video(container, path)
        stream.thread_type = "AUTO"
        for picture in container.decode(stream):
            if picture.pts is not None and picture.time_base is not None:
                yield clock.at(float(picture.pts * picture.time_base)), picture


def _video(container: InputContainer, path: Path) -> av.VideoStream:
    if not container.streams.video:
        raise _bad(path)
    return container.streams.video[0]


def _small(picture: av.VideoFrame) -> Picture:
    scale = min(1.0, LONG_SIDE / max(picture.width, picture.height))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    array = picture.reformat(width=size[0], height=size[1], format="rgb24").to_ndarray()
    return np.ascontiguousarray(array, dtype=np.uint8)


def _bad(path: Path) -> BadVideo:
    return BadVideo("The clip holds no picture that can be read; ask for another moment.", path=str(path))
