"""REDACTED_FRAMES of a clip: people are made unrecognisable before a byte of it goes on.

In: a clip. Out: an MP4 of at most three pictures a second without sound, in which every person that was found, and
everywhere on the way between two finds, is coarse blocks. It does not know who asked. Next: the device's `clips.py`
sends it; the edge's `redacted.py` does this for devices that cannot.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from foveate.errors import BadVideo
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection, Picture
from foveate.vision.mpeg4 import TICK, add_video
from foveate.vision.redact import people, redact

logger = logging.getLogger(__name__)


class Looks(Protocol):
    """Whatever finds people; a whole `Detector` does."""

    def detect(self, image: Picture, /) -> tuple[Detection, ...]:
        """Candidates of one picture; blocking."""
        ...


Prepare = Callable[[Picture], Picture]
"""What is done to every picture before anybody is looked for, such as burning privacy masks."""

LONGEST_SIDE = 1280
"""Pixels of the written pictures' longer side at most."""

_FPS = 3  # enough to see what happens, and each picture costs a detection
_MARGIN = 0.1  # detectors cut off hair, hands and feet
_HOLD_S = 1.0  # a person is hidden this long before the first and after the last find
_GAP_S = 2.0  # a person who is found again within this time was there all along
_SAME = 0.1  # overlap of two finds that are taken for one person
_LOOK_AHEAD_S = max(_HOLD_S, _GAP_S) + 0.5  # later finds say nothing about a picture any more


@dataclass(slots=True)
class _Find:
    time: float
    box: Box


class _Paths:
    """Where each person was, find by find. To take two people for one only hides more."""

    def __init__(self) -> None:
        self._paths: list[list[_Find]] = []

    def add(self, time: float, people: list[Box]) -> None:
        """Takes one picture's people in: each goes on from the last find that it overlaps most, or begins a path."""
        self._paths = [path for path in self._paths if time - path[-1].time <= 2 * _LOOK_AHEAD_S]
        going = [path for path in self._paths if time - path[-1].time <= _GAP_S]
        pairs = ((box.iou(path[-1].box), old, new) for old, path in enumerate(going) for new, box in enumerate(people))
        before: set[int] = set()
        after: set[int] = set()
        for overlap, old, new in sorted(pairs, reverse=True):
            if overlap >= _SAME and old not in before and new not in after:
                going[old].append(_Find(time, people[new]))
                before.add(old)
                after.add(new)
        self._paths += [[_Find(time, box)] for new, box in enumerate(people) if new not in after]

    def hidden(self, time: float) -> list[Box]:
        """Every box to hide at this moment: found, held, or on the way between two finds."""
        boxes = []
        for finds in self._paths:
            if finds[0].time - _HOLD_S <= time <= finds[-1].time + _HOLD_S:
                boxes += _between(finds, time)
        return [box.expanded(_MARGIN) for box in boxes]


def redact_clip(
    source: Path,
    target: Path,
    *,
    detector: Looks,
    prepare: Prepare | None = None,
    skip: float = 0.0,
    until: float = math.inf,
) -> float:
    """Writes the redacted clip to `target`; returns where it begins in `source`: at or before `skip` s.

    What lies after `until` s is left out.

    Each picture waits until no later find can say any more about who must be hidden in it. BadVideo when no picture
    can be decoded. Blocking, about 35 ms a picture, of which the detector takes 25.
    """
    paths = _Paths()
    waiting: deque[tuple[float, Picture]] = deque()
    with av.open(str(target), "w", format="mp4", container_options={"movflags": "+faststart"}) as output:
        writer = _Writer(output)
        for time, whole in _pictures(source, skip, until):
            image = whole if prepare is None else prepare(whole)
            paths.add(time, people(detector.detect(image)))
            waiting.append((time, image))
            while waiting[0][0] < time - _LOOK_AHEAD_S:
                moment, settled = waiting.popleft()
                writer.write(moment, settled, hidden=paths.hidden(moment))
        for moment, settled in waiting:
            writer.write(moment, settled, hidden=paths.hidden(moment))
        writer.finish()
    if writer.begin is None:
        target.unlink(missing_ok=True)
        raise BadVideo("No picture of that span can be decoded; ask for another one.")
    return writer.begin


class _Writer:
    """Writes pictures on a timeline that begins with the first one."""

    def __init__(self, output: OutputContainer) -> None:
        self._output = output
        self._stream: VideoStream | None = None
        self.begin: float | None = None

    def write(self, time: float, image: Picture, *, hidden: list[Box]) -> None:
        shown = _even(redact(image, hidden))
        if self._stream is None or self.begin is None:
            self.begin = time
            self._stream = add_video(self._output, width=shown.shape[1], height=shown.shape[0], fps=_FPS)
        frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
        frame.pts, frame.time_base = round((time - self.begin) / TICK), TICK
        self._output.mux(self._stream.encode(frame))

    def finish(self) -> None:
        if self._stream is not None:
            self._output.mux(self._stream.encode(None))


def _pictures(source: Path, skip: float, until: float) -> Iterator[tuple[float, Picture]]:
    """(seconds from the clip's start, RGB): the picture on view at `skip`, then at most _FPS a second."""
    first: float | None = None
    due = skip
    before: tuple[float, av.VideoFrame] | None = None
    with av.open(str(source)) as container:
        for decoded in _decoded(container):
            if decoded.time is None:
                continue
            first = decoded.time if first is None else first
            time = decoded.time - first
            if time > max(until, skip):
                break
            if before is not None and time > skip:
                due = before[0] + 1 / _FPS
                yield before[0], _rgb(before[1])
            before = (time, decoded) if time <= skip else None
            if before is None and time >= due - 0.01:
                due = max(due + 1 / _FPS, time)
                yield time, _rgb(decoded)
        if before is not None:
            yield before[0], _rgb(before[1])


def _rgb(decoded: av.VideoFrame) -> Picture:
    scale = min(1.0, LONGEST_SIDE / max(decoded.width, decoded.height))
    width, height = (max(2, round(side * scale)) for side in (decoded.width, decoded.height))
    image = decoded.reformat(width=width, height=height, format="rgb24").to_ndarray()
    return image.astype(np.uint8, copy=False)


def _decoded(container: InputContainer) -> Iterator[av.VideoFrame]:
    """Every picture that can be decoded; damaged packets are left out."""
    video = container.streams.video[0]
    video.codec_context.thread_count = 1
    for packet in container.demux(video):
        try:
            yield from video.codec_context.decode(packet if packet.size else None)
        except av.FFmpegError:
            logger.debug("a picture could not be decoded", extra={"path": container.name})


def _even(image: Picture) -> Picture:
    """The picture with even sides, which 4:2:0 colour needs."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    return np.ascontiguousarray(image[:height, :width])


def _between(finds: list[_Find], time: float) -> list[Box]:
    """The box at a moment; between two finds the straight way, and both ends as well, since people do not walk so."""
    after = bisect_left([find.time for find in finds], time)
    if after == len(finds):
        return [finds[-1].box]
    if after == 0 or finds[after].time == time:
        return [finds[after].box]
    one, two = finds[after - 1], finds[after]
    share = (time - one.time) / (two.time - one.time)
    way = (
        a + (b - a) * share
        for a, b in (
            (one.box.left, two.box.left),
            (one.box.top, two.box.top),
            (one.box.width, two.box.width),
            (one.box.height, two.box.height),
        )
    )
    return [Box(*way), one.box, two.box]
