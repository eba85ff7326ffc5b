"""REDACTED_FRAMES of a clip: people are made unrecognisable on the device, before a byte of it leaves.

In: a cut clip. Out: an MP4 of at most five pictures a second without sound, in which every person that was found, and
everywhere on the way between two finds, is coarse blocks. It does not know who asked. Next: `clips.py` sends it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from device_agent.answer import PERSON_FLOOR
from device_agent.frames import Frame
from device_agent.track import Rules, Tracker, observe
from foveate.errors import BadVideo
from foveate.messages import Sighting
from foveate.vision.boxes import Box
from foveate.vision.detect import Detector, Picture
from foveate.vision.redact import redact

_FPS = 5
_MARGIN = 0.1  # detectors cut off hair, hands and feet
_HOLD_S = 1.0  # a person is hidden this long before the first and after the last find
_BIT_RATE = 2_000_000
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

    def add(self, time: float, boxes: list[tuple[float, Box]]) -> None:
        """Takes one picture's people in, as (score, box)."""
        from foveate.vision.detect import Detection

        seen = observe([Detection("person", score, box) for score, box in boxes], same=0.9)
        for track_id, observation in self._tracker.update(time, seen).items():
            self._finds.setdefault(track_id, []).append(Sighting(time, "person", observation.score, observation.box))

    def hidden(self, time: float) -> list[Box]:
        """Every box to hide at this moment: found, held, or on the way between two finds."""
        boxes = []
        for finds in self._finds.values():
            if finds[0].time - _HOLD_S <= time <= finds[-1].time + _HOLD_S:
                boxes += _between(finds, time)
        return [box.expanded(_MARGIN) for box in boxes]


def redact_clip(source: Path, target: Path, *, detector: Detector) -> Path:
    """Writes the redacted clip to `target` and returns it; BadVideo when no picture of `source` can be decoded.

    Goes over the clip twice: a find later on tells what to hide now. Blocking, about 30 ms a picture.
    """
    paths = _Paths()
    for time, image in _pictures(source):
        people = [item for item in detector.detect(image) if item.label == "person" and item.score >= PERSON_FLOOR]
        paths.add(time, [(item.score, item.box) for item in people])
    written = 0
    with av.open(str(target), "w", format="mp4", container_options={"movflags": "+faststart"}) as output:
        stream: VideoStream | None = None
        for time, image in _pictures(source):
            image = _even(redact(image, paths.hidden(time)))
            stream = stream or _stream(output, image)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time / _TICK), _TICK
            output.mux(stream.encode(frame))
            written += 1
        if stream is not None:
            output.mux(stream.encode(None))
    if not written:
        target.unlink(missing_ok=True)
        raise BadVideo("No picture of that span can be decoded; ask for another one.")
    return target


def _pictures(source: Path) -> Iterator[tuple[float, Picture]]:
    """(seconds from the clip's start, RGB) at most _FPS times a second."""
    due, first = 0.0, None
    with av.open(str(source)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for decoded in container.decode(container.streams.video[0]):
            if decoded.time is None:
                continue
            first = decoded.time if first is None else first
            time = decoded.time - first
            if time >= due - 0.01:
                due = max(due + 1 / _FPS, time)
                yield time, Frame(decoded, time=time, media_time=None, index=0).image


def _stream(output: av.container.OutputContainer, image: Picture) -> VideoStream:
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
