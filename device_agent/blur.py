"""REDACTED_FRAMES of a clip: people are made unrecognisable on the device, before a byte of it leaves.

In: a cut clip. Out: an MP4 of at most three pictures a second without sound, in which every person that was found, and
everywhere on the way between two finds, is coarse blocks. It does not know who asked. Next: `clips.py` sends it.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from device_agent.answer import PERSON_FLOOR
from device_agent.frames import Frame
from device_agent.track import Rules, Tracker, observe
from foveate.errors import BadVideo
from foveate.messages import Sighting
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection, Detector, Picture
from foveate.vision.redact import redact

logger = logging.getLogger(__name__)

_FPS = 3  # enough to see what happens, and each picture costs a detection
_MARGIN = 0.1  # detectors cut off hair, hands and feet
_HOLD_S = 1.0  # a person is hidden this long before the first and after the last find
_BIT_RATE = 1_000_000
_TICK = Fraction(1, 1000)


class _Paths:
    """Where each person was, find by find."""

    def __init__(self) -> None:
        rules = Rules(
            threshold=lambda label: PERSON_FLOOR,
            weak_share=1.0,
            overlap=0.1,
            confirm_hits=1,
            lost_after_s=2.0,
            most_tracks=256,
        )
        self._tracker = Tracker(rules)
        self._finds: dict[int, list[Sighting]] = {}

    def add(self, time: float, people: list[Detection]) -> None:
        """Takes one picture's people in."""
        for track_id, seen in self._tracker.update(time, observe(people)).items():
            self._finds.setdefault(track_id, []).append(Sighting(time, seen.label, seen.score, seen.box))

    def hidden(self, time: float) -> list[Box]:
        """Every box to hide at this moment: found, held, or on the way between two finds."""
        boxes = []
        for finds in self._finds.values():
            if finds[0].time - _HOLD_S <= time <= finds[-1].time + _HOLD_S:
                boxes += _between(finds, time)
        return [box.expanded(_MARGIN) for box in boxes]


def redact_clip(source: Path, target: Path, *, detector: Detector, skip: float = 0.0) -> float:
    """Writes the redacted clip to `target`; returns where it begins in `source`: at or before `skip` seconds.

    Goes over the clip twice: a find later on tells what to hide now. BadVideo when no picture can be decoded.
    Blocking, about 50 ms a picture.
    """
    paths = _Paths()
    for time, image in _pictures(source, skip):
        people = [item for item in detector.detect(image) if item.label == "person" and item.score >= PERSON_FLOOR]
        paths.add(time, people)
    first: float | None = None
    with av.open(str(target), "w", format="mp4", container_options={"movflags": "+faststart"}) as output:
        stream: VideoStream | None = None
        for time, image in _pictures(source, skip):
            image = _even(redact(image, paths.hidden(time)))
            stream, first = stream or _stream(output, image), time if first is None else first
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round((time - first) / _TICK), _TICK
            output.mux(stream.encode(frame))
        if stream is not None:
            output.mux(stream.encode(None))
    if first is None:
        target.unlink(missing_ok=True)
        raise BadVideo("No picture of that span can be decoded; ask for another one.")
    return first


def _pictures(source: Path, skip: float) -> Iterator[tuple[float, Picture]]:
    """(seconds from the clip's start, RGB): the picture on view at `skip`, then at most _FPS a second."""
    first: float | None = None
    due, before = skip, None
    with av.open(str(source)) as container:
        for decoded in _decoded(container):
            if decoded.time is None:
                continue
            first = decoded.time if first is None else first
            frame = Frame(decoded, time=decoded.time - first, media_time=None, index=0)
            if before is not None and frame.time > skip:
                due = before.time + 1 / _FPS
                yield before.time, before.image
            before = frame if frame.time <= skip else None
            if before is None and frame.time >= due - 0.01:
                due = max(due + 1 / _FPS, frame.time)
                yield frame.time, frame.image
        if before is not None:
            yield before.time, before.image


def _decoded(container: InputContainer) -> Iterator[av.VideoFrame]:
    """Every picture that can be decoded; damaged packets are left out."""
    video = container.streams.video[0]
    video.codec_context.thread_count = 1
    for packet in container.demux(video):
        try:
            yield from video.codec_context.decode(packet if packet.size else None)
        except av.FFmpegError:
            logger.debug("a picture could not be decoded", extra={"path": container.name})


def _stream(output: OutputContainer, image: Picture) -> VideoStream:
    stream = output.add_stream("mpeg4", rate=_FPS)
    stream.height, stream.width = image.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.bit_rate = _BIT_RATE
    stream.codec_context.time_base = _TICK
    return stream


def _even(image: Picture) -> Picture:
    """The picture with even sides, which 4:2:0 colour needs."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    return np.ascontiguousarray(image[:height, :width])


def _between(finds: list[Sighting], time: float) -> list[Box]:
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
