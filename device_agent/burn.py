"""Privacy masks in a clip: every picture is decoded, masked and coded again before a byte of it leaves.

In: a cut clip as the camera coded it. Out: a file of the same kind with MPEG-4 pictures, times kept, sound copied as
it was. Pictures that are damaged are left out. It does not know who asked, and leaves the recording alone.
Next: `clips.py` sends it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from device_agent.masks import Masks
from foveate.errors import BadVideo
from foveate.vision.mpeg4 import TICK, add_video

logger = logging.getLogger(__name__)

_FASTEST, _USUAL = 240, 25  # pictures a second that a file may claim, and what is told where it claims nonsense

Item: TypeAlias = "av.VideoFrame | av.Packet[Any]"


def burn_clip(source: Path, target: Path, *, masks: Masks, skip: float = 0.0) -> float:
    """Writes the masked clip to `target`, whose suffix tells the container.

    Returns where it begins, in seconds from the first picture of `source`: with the picture on view at `skip`.
    BadVideo when no picture can be decoded. Blocking, 2 to 3 ms a picture of 768x576.
    """
    options = {"movflags": "+faststart"} if target.suffix in (".mp4", ".mov") else {}
    with av.open(str(source)) as container, av.open(str(target), "w", container_options=options) as output:
        sound = next(iter(container.streams.audio), None)
        writer = _Writer(output, masks=masks, video=container.streams.video[0], sound=sound)
        items = _Items(container, sound)
        for item in items.since(skip):
            writer.write(item)
        writer.finish()
    if writer.begin is None or items.origin is None:
        target.unlink(missing_ok=True)
        raise BadVideo("No picture of that span can be decoded; ask for another one.")
    return writer.begin - items.origin


class _Items:
    """The decoded pictures and coded sound of a clip, in the order of its file."""

    def __init__(self, container: InputContainer, sound: AudioStream | None) -> None:
        self._container, self._sound = container, sound
        self._video = container.streams.video[0]
        self._video.codec_context.thread_count = 1
        self.origin: float | None = None
        """Presentation time of the first coded picture, which may be too damaged to be shown."""

    def since(self, skip: float) -> Iterator[Item]:
        """First the picture on view `skip` seconds after the first one, then all that follows."""
        on_view: av.VideoFrame | None = None
        early: list[Item] = []
        begun = False
        for item in self._all():
            if begun:
                yield item
            elif not isinstance(item, av.VideoFrame):
                early.append(item)
            elif on_view is None or _time(item) <= skip + (self.origin or 0.0):
                on_view = item
            else:
                begun = True
                yield from (on_view, *early, item)
        if not begun and on_view is not None:
            yield from (on_view, *early)

    def _all(self) -> Iterator[Item]:
        wanted = [self._video] if self._sound is None else [self._video, self._sound]
        for packet in self._container.demux(*wanted):
            if packet.stream_index != self._video.index:
                if packet.size and packet.pts is not None:
                    yield packet
                continue
            if self.origin is None and packet.pts is not None and packet.time_base is not None:
                self.origin = float(packet.pts * packet.time_base)
            yield from self._decoded(packet)

    def _decoded(self, packet: av.Packet[Any]) -> Iterator[av.VideoFrame]:
        try:
            pictures = self._video.codec_context.decode(packet if packet.size else None)
        except av.FFmpegError:
            logger.debug("a picture could not be decoded", extra={"path": self._container.name})
            return
        yield from (item for item in pictures if item.pts is not None and not item.is_corrupt)


class _Writer:
    """Writes masked pictures and sound on a timeline that begins with the first picture."""

    def __init__(self, output: OutputContainer, *, masks: Masks, video: VideoStream, sound: AudioStream | None) -> None:
        self._output, self._masks = output, masks
        claimed = video.average_rate
        self._fps = claimed if claimed and 0 < claimed <= _FASTEST else Fraction(_USUAL)
        self._video: VideoStream | None = None
        self._size = (0, 0)
        self._template = sound
        self._sound: AudioStream | None = None
        self._last = -1
        self.begin: float | None = None

    def write(self, item: Item) -> None:
        if isinstance(item, av.VideoFrame):
            self._picture(item)
        elif self._sound is not None and self.begin is not None:
            item.pts = (item.pts or 0) - round(Fraction(self.begin) / item.time_base)
            item.dts = item.pts
            if item.pts >= 0:
                item.stream = self._sound
                self._output.mux(item)

    def finish(self) -> None:
        if self._video is not None:
            self._output.mux(self._video.encode(None))

    def _picture(self, frame: av.VideoFrame) -> None:
        time = _time(frame)
        if self.begin is None or self._video is None:
            self.begin, self._size = time, (frame.width, frame.height)
            self._video = add_video(self._output, width=frame.width, height=frame.height, fps=self._fps)
            if self._template is not None:
                self._sound = self._output.add_stream_from_template(self._template)
        masked = self._masks.burn_frame(frame)
        if (masked.width, masked.height) != self._size:
            masked = masked.reformat(width=self._size[0], height=self._size[1])
        pts = round((time - self.begin) / TICK)
        if pts > self._last:  # reordered pictures of a group whose start is missing come too late
            self._last = masked.pts = pts
            masked.time_base, masked.pict_type = TICK, av.video.frame.PictureType.NONE
            self._output.mux(self._video.encode(masked))


def _time(frame: av.VideoFrame) -> float:
    """Presentation in seconds; frames without one were left out."""
    return float(frame.time or 0.0)
