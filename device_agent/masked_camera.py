"""A camera whose pictures are masked before anything sees or records them: `recording.masked_originals`.

In: the packets of another camera. Out: packets as if the camera itself sent masked MPEG-4 pictures, at the same times
and in the same runs; sound passes through. Every picture is decoded and coded again, 1.5 ms each at 768x576. It knows
nothing of the recording. Next: `record.py` and `frames.py`, which cannot tell the difference.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import av
from av.video.frame import PictureType
from av.video.stream import VideoStream

from device_agent.capture import Camera, Condition, Packet, Streams
from device_agent.masks import Masks
from foveate.vision.mpeg4 import TICK, add_video

logger = logging.getLogger(__name__)

_KEY_EVERY_S = 1.0  # cameras that send nothing but key frames would cost several times the disk
_HOPELESS = 100  # coded pictures in a row of which none can be decoded
_USUAL_FPS = 25  # only told to players


class MaskedCamera:
    """Wraps a camera. What cannot be decoded cannot be masked, so it is not passed on; in the end that is said."""

    def __init__(self, camera: Camera, masks: Masks) -> None:
        self._camera, self._masks = camera, masks
        self._failures = 0

    @property
    def condition(self) -> Condition:
        """How the camera is doing, and whether its pictures can be masked; may be read from any thread."""
        found = self._camera.condition
        if found.capturing and self._failures >= _HOPELESS:
            return Condition(
                False, "The camera's pictures cannot be decoded, so they cannot be masked; set another codec on it."
            )
        return found

    def packets(self) -> Iterator[Packet]:
        """Masked packets as they come; blocks as the camera does."""
        coder: _Coder | None = None
        for packet in self._camera.packets():
            if not packet.video:
                yield packet
                continue
            if coder is None or packet.run != coder.run:
                if coder is not None:
                    yield from coder.finish()
                coder = _Coder(packet, self._masks)
            coded = coder.coded(packet)
            self._failures = 0 if coded else self._failures + 1
            yield from coded
        if coder is not None:
            yield from coder.finish()


class _Coder:
    """Decodes, masks and codes the pictures of one run; describes itself as if it had been opened."""

    def __init__(self, first: Packet, masks: Masks) -> None:
        self.run = first.run
        self._masks, self._held = masks, ExitStack()
        self._newest = first
        self._stream: VideoStream | None = None
        self._streams: Streams | None = None
        self._last = self._key = -1
        self._damaged = False

    def coded(self, packet: Packet) -> list[Packet]:
        """The packets of the pictures that this one completes: one, or none while pictures are reordered."""
        self._newest = packet
        try:
            decoded = packet.streams.decoder.decode(packet.data)
        except av.FFmpegError as error:
            if not self._damaged:
                logger.warning("a picture could not be decoded, and is not recorded", extra={"error": str(error)})
            self._damaged = True
            return []
        self._damaged = False
        return self._packets(decoded)

    def finish(self) -> Iterator[Packet]:
        """The packets of the last pictures; then closes what described them all."""
        decoder = self._newest.streams.decoder
        with self._held:
            try:
                yield from self._packets(decoder.decode(None))
            except (av.FFmpegError, ValueError) as error:
                logger.debug("nothing was left to decode", extra={"error": str(error)})
            if decoder.is_open:
                decoder.flush_buffers()  # the next run may go on with it

    def _packets(self, decoded: list[av.VideoFrame]) -> list[Packet]:
        return [packet for picture in decoded if picture.pts is not None for packet in self._masked(picture)]

    def _masked(self, picture: av.VideoFrame) -> Iterator[Packet]:
        newest, tick = self._newest, self._newest.tick
        ticks = newest.pts if picture.pts is None else picture.pts
        pts = round(ticks * tick / TICK)
        if pts <= self._last:
            return
        key = self._last < 0 or (picture.key_frame and (pts - self._key) * TICK >= _KEY_EVERY_S)
        burned = self._masks.burn_frame(picture)
        stream = self._stream = self._stream or self._opened(burned)
        if (burned.width, burned.height) != (stream.width, stream.height):
            burned = burned.reformat(width=stream.width, height=stream.height)
        burned.pts, burned.time_base = pts, TICK
        burned.pict_type = PictureType.I if key else PictureType.NONE
        self._last = pts
        # A picture comes out some packets after its own; within a run both clocks run side by side.
        behind = float((ticks - newest.pts) * tick)
        for data in stream.encode(burned):
            self._streams = self._streams or self._reopened(stream, data)
            yield self._described(data, self._streams, behind)

    def _described(self, data: av.Packet[VideoStream], streams: Streams, behind: float) -> Packet:
        newest = self._newest
        pts, key = data.pts or 0, data.is_keyframe
        data.stream = streams.video
        data.dts, data.time_base = pts, TICK
        if key:
            self._key = pts
        return Packet(
            streams,
            data,
            pts=pts,
            dts=pts,
            duration=round(newest.duration * newest.tick / TICK),
            tick=TICK,
            video=True,
            key=key,
            time=newest.time + behind / newest.rate,
            media_time=None if newest.media_time is None else newest.media_time + behind,
            rate=newest.rate,
            run=self.run,
        )

    def _opened(self, picture: av.VideoFrame) -> VideoStream:
        """The encoder; its container is never read, but tells it to describe itself apart from its pictures."""
        output = self._held.enter_context(av.open(io.BytesIO(), "w", format="nut"))
        stream = add_video(output, width=picture.width, height=picture.height, fps=_USUAL_FPS)
        output.start_encoding()
        return stream

    def _reopened(self, encoder: VideoStream, first: av.Packet[VideoStream]) -> Streams:
        """Streams as those of a camera: a file of the first picture alone, opened to be read."""
        source, file = self._newest.streams, io.BytesIO()
        # The sound keeps its number, so the pictures must have another one.
        number = 1 if source.audio is not None and source.audio.index == 0 else 0
        with av.open(file, "w", format="nut") as output:
            for _ in range(number + 1):
                copied: av.Packet[Any] = av.Packet(bytes(first))
                copied.pts = copied.dts = 0
                copied.time_base, copied.is_keyframe = TICK, True
                copied.stream = output.add_stream_from_template(encoder)
            output.mux_one(copied)
        container = self._held.enter_context(av.open(io.BytesIO(file.getvalue()), format="nut"))
        video = container.streams.video[number]
        video.codec_context.thread_count = 1
        return Streams(video, source.audio, video.codec_context, source.sound_decoder)
