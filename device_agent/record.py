"""The recorder: a ring buffer of segments on the device's disk, as coded by the camera, never encoded again.

In: every `Packet`. Out: files of at least two seconds that begin with a key frame, the oldest deleted first. A segment
is written in FFmpeg's NUT format: exact times, any codec, readable up to the last packet even after `kill -9`. A full
disk pauses recording and says so. It decodes nothing. Next: `cut.py`, which makes clips of segments.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.stream import Stream

from device_agent.capture import Packet, Streams
from device_agent.cut import Cut, cut, last_moment
from device_agent.segments import MARGIN_S, Segment, Segments
from foveate.errors import NotFound

logger = logging.getLogger(__name__)

SHORTEST_S = 2.0
RESERVE_BYTES = 32 << 20
"""Disk space that recordings leave free: events, which are small and dear, must still find room."""

# A packet is in the file when `record` returns; with sound, one picture may still wait for the sound beside it.
_OPTIONS = {"flush_packets": "1", "max_interleave_delta": "1"}


class Recorder:
    """Keeps the last `max_bytes` or `max_seconds` of what the camera sent, whichever is less."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        max_seconds: float,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._segments = Segments(folder)
        self._max_bytes, self._max_seconds, self._free_bytes = max_bytes, max_seconds, free_bytes
        self._open: _Writing | None = None
        self._lock = threading.Lock()
        self._cutting = 0  # nothing is deleted while a clip is cut, and recording does not wait for it
        self.trouble = ""
        """One sentence while nothing can be recorded."""
        self._recover()

    def record(self, packet: Packet) -> None:
        """Writes one packet; a problem of the disk is noted in `trouble` and ends the segment, never the agent."""
        try:
            if packet.video and self._due(packet):
                self._rotate(packet)
            if self._open is not None and packet.run == self._open.run:
                self._open.write(packet)
        except (OSError, av.FFmpegError, sqlite3.Error) as error:
            self._fail(error)

    def pause(self) -> None:
        """Ends the segment that is being written; what was recorded can still be cut."""
        try:
            self._end()
        except (OSError, av.FFmpegError, sqlite3.Error) as error:
            logger.warning("the last segment was not finished", extra={"error": str(error)})

    def close(self) -> None:
        """Ends the segment that is being written and closes the index."""
        self.pause()
        self._segments.close()

    def held(self) -> tuple[float, float] | None:
        """Unix seconds from the oldest to the newest picture that is kept; None when there is none."""
        found = self._known()
        return (found[0].start, max(item.end or item.start for item in found)) if found else None

    def cut(self, start: float, end: float, *, target: Path, sound: bool = True) -> Cut:
        """One clip that covers [start, end] as far as it was recorded, written to `target` plus a suffix.

        Its own start is the last key frame at or before `start`. NotFound, naming what is held, when nothing overlaps.
        Blocking.
        """
        with self._lock:
            self._cutting += 1
        try:
            known = self._known()
            wanted = [item for item in known if item.start <= end and (item.end or item.start) >= start]
            if wanted:
                return cut(self._segments, wanted, start=start, end=end, target=target, sound=sound)
        finally:
            with self._lock:
                self._cutting -= 1
        raise NotFound(f"Nothing was recorded in that span; {_span(known)}.")

    def _known(self) -> list[Segment]:
        writing = self._open
        return [
            replace(item, end=writing.end) if writing is not None and item.number == writing.segment.number else item
            for item in self._segments.all()
        ]

    def _due(self, packet: Packet) -> bool:
        if not packet.key:
            return False
        writing = self._open
        return (
            writing is None
            or packet.run != writing.run
            or packet.time - writing.segment.start >= (SHORTEST_S / packet.rate)
        )

    def _rotate(self, packet: Packet) -> None:
        self._end()
        self._make_room(packet.time)
        if self._free_bytes(self._segments.folder) < RESERVE_BYTES:
            self._thin()
        if self._free_bytes(self._segments.folder) < RESERVE_BYTES:
            self._say("The disk is full; recording goes on when there is space.")
            return
        self._open = _begin(self._segments, packet)
        if self.trouble:
            logger.info("recording again")
        self.trouble = ""

    def _end(self) -> None:
        writing, self._open = self._open, None
        if writing is not None:
            writing.close()
            size = self._segments.path(writing.segment).stat().st_size
            self._segments.finish(writing.segment, end=writing.end, size_bytes=size)

    def _fail(self, error: Exception) -> None:
        """Leaves what was written so far readable and waits for the next key frame."""
        what = getattr(error, "strerror", None) or str(error)
        self._say(f"Recording failed ({what}); free space on this device, it is tried again at the next key frame.")
        writing, self._open = self._open, None
        try:
            if writing is not None:
                writing.close()
        except (OSError, av.FFmpegError):
            logger.debug("the broken segment could not be closed")
        try:
            self._thin()  # first, since on a full disk not even the index can be written
            if writing is not None:
                self._settle(writing.segment)
        except (OSError, sqlite3.Error) as second:
            logger.warning("the index could not be written", extra={"error": str(second)})

    def _say(self, sentence: str) -> None:
        if sentence != self.trouble:
            logger.warning("%s", sentence)
        self.trouble = sentence

    def _make_room(self, now: float) -> None:
        kept = [item for item in self._segments.all() if item.end is not None]
        total = sum(item.size_bytes for item in kept)
        old = 0
        while old < len(kept) and (total > self._max_bytes or (kept[old].end or 0.0) < now - self._max_seconds):
            total -= kept[old].size_bytes
            old += 1
        self._drop(kept[:old])

    def _thin(self) -> None:
        """Gives the oldest eighth of the ring back to a full disk: the newest footage is worth more."""
        kept = [item for item in self._segments.all() if item.end is not None]
        self._drop(kept[: (len(kept) + 7) // 8])

    def _drop(self, old: list[Segment]) -> None:
        with self._lock:
            if self._cutting:
                return
            for item in old:
                self._segments.drop(item)

    def _recover(self) -> None:
        """Settles what a killed process left behind: whole up to its last packet, or nothing."""
        known = self._segments.all()
        for item in known:
            if item.end is None:
                self._settle(item)
            elif not self._segments.path(item).exists():
                self._segments.drop(item)
        names = {item.name for item in known}
        for path in self._segments.folder.glob("*.nut"):
            if path.name not in names:
                path.unlink()

    def _settle(self, segment: Segment) -> None:
        path = self._segments.path(segment)
        seconds = last_moment(path)
        if seconds is None:
            logger.warning("dropped an unfinished segment that holds no picture", extra={"segment": segment.name})
            self._segments.drop(segment)
            return
        self._segments.finish(segment, end=segment.time_at(seconds), size_bytes=path.stat().st_size)
        logger.info("recovered an unfinished segment", extra={"segment": segment.name})


class _Writing:
    """The segment that is being written."""

    def __init__(
        self, segment: Segment, container: OutputContainer, streams: dict[int, Stream], packet: Packet
    ) -> None:
        self.segment, self.run, self.end = segment, packet.run, packet.time
        self._container, self._streams = container, streams
        self._zero = float(packet.dts * packet.tick) - MARGIN_S

    def write(self, packet: Packet) -> None:
        stream = self._streams.get(packet.data.stream_index)
        shift = round(self._zero / packet.tick)
        if stream is None or packet.dts < shift:
            return
        # A copy, because muxing changes a packet and the decoder still needs it.
        copied: av.Packet[Any] = av.Packet(bytes(packet.data))
        copied.pts, copied.dts, copied.duration = packet.pts - shift, packet.dts - shift, packet.duration
        copied.time_base, copied.is_keyframe, copied.stream = packet.tick, packet.data.is_keyframe, stream
        self._container.mux_one(copied)
        if packet.video:
            self.end = max(self.end, packet.time + float(packet.duration * packet.tick) / packet.rate)

    def close(self) -> None:
        self._container.close()


def _begin(segments: Segments, packet: Packet) -> _Writing:
    lead = float((packet.pts - packet.dts) * packet.tick)
    name = f"{round(packet.time * 1000)}-{packet.run}.nut"
    draft = Segment(0, name, packet.time, None, lead, packet.rate, packet.media_time, _codecs(packet.streams), 0)
    segment = segments.begin(draft)
    container = av.open(str(segments.path(segment)), "w", format="nut", container_options=_OPTIONS)
    chosen = [packet.streams.video, *([packet.streams.audio] if packet.streams.audio is not None else [])]
    made: dict[int, Stream] = {stream.index: container.add_stream_from_template(stream) for stream in chosen}
    return _Writing(segment, container, made, packet)


def _codecs(streams: Streams) -> str:
    """What must be equal for two segments to be joined without encoding."""
    video, audio = streams.video.codec_context, streams.audio
    extra = hashlib.sha256(bytes(video.extradata or b"")).hexdigest()[:12]
    seen = f"{video.name} {video.width}x{video.height} {extra}"
    return seen if audio is None else f"{seen} + {audio.codec_context.name} {audio.codec_context.sample_rate}"


def _span(known: list[Segment]) -> str:
    if not known:
        return "this device has recorded nothing yet"
    end = max(item.end or item.start for item in known)
    return f"this device holds {known[0].start:.1f} to {end:.1f} (Unix seconds): ask for a part of that"
