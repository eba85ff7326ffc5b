"""One segment being written: packets as the camera coded them go into a NUT file, never encoded again.

In: packets of one run. Out: a file that is readable up to its last packet even after `kill -9`, and that says of
itself what the index says of it, so that the index can be made anew. FFmpeg's NUT: exact times, any codec. It knows
no index. Next: `record.py`, which begins and ends segments.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.stream import Stream

from device_agent.capture import Packet, Streams, parameter_sets
from device_agent.reading import ABOUT
from device_agent.segments import MARGIN_S, Segment

logger = logging.getLogger(__name__)

# A packet is in the file when `write` returns; with sound, one picture may still wait for the sound beside it.
_OPTIONS = {"flush_packets": "1", "max_interleave_delta": "1"}
_HEAD_BYTES = 1024  # parameter sets stand at the very front of a key frame


class Writing:
    """The file of one segment; OSError when the disk refuses, ValueError for a packet that no file can hold."""

    def __init__(self, path: Path, segment: Segment, first: Packet) -> None:
        """Makes the file and writes its header; sound that cannot be described is left out."""
        self.path, self.segment, self.run, self.end = path, segment, first.run, first.time
        self.size_bytes = 0
        """Bytes of its packets so far."""
        self._zero = float(first.dts * first.tick) - MARGIN_S
        self._last: dict[int, int] = {}
        self._lock = threading.Lock()
        audio = first.streams.audio
        try:
            self._container, self._streams = _begun(path, segment, first.streams, sound=audio is not None)
        except ValueError as error:
            if audio is None:
                raise
            logger.warning("recording without sound, which cannot be described", extra={"error": str(error)})
            self._container, self._streams = _begun(path, segment, first.streams, sound=False)

    def write(self, packet: Packet) -> bool:
        """Whether the packet is in the file; sound from before the segment and repeated times are not."""
        stream = self._streams.get(packet.data.stream_index)
        shift = round(self._zero / packet.tick)
        dts = packet.dts - shift
        if stream is None or dts < 0 or packet.pts < packet.dts or dts <= self._last.get(stream.index, -1):
            return False
        # A copy, because muxing changes a packet and the decoder still needs it.
        copied: av.Packet[Any] = av.Packet(bytes(packet.data))
        copied.pts, copied.dts, copied.duration = packet.pts - shift, dts, packet.duration
        copied.time_base, copied.is_keyframe, copied.stream = packet.tick, packet.data.is_keyframe, stream
        with self._lock:
            self._container.mux_one(copied)
        self._last[stream.index] = dts
        self.size_bytes += packet.data.size
        if packet.video:
            self.end = max(self.end, end_of(packet))
        return True

    def whole_bytes(self) -> int:
        """How much of the file holds whole packets now; from any thread."""
        with self._lock:
            return self.path.stat().st_size

    def close(self) -> None:
        """Ends the file."""
        self._container.close()


@dataclass(slots=True)
class Codecs:
    """Tells segments apart that cannot be joined: by run, and by the parameter sets that H.26x sends in mid-stream."""

    _run: int = -1
    _seen: str = ""
    _sets: str = ""

    def of(self, packet: Packet) -> str:
        """What must be equal for two segments to be joined without encoding; the packet is a key frame."""
        if packet.run != self._run:
            # Once for each run: the decoder, in its own thread, goes on to change what the stream says.
            self._run, self._seen, self._sets = packet.run, _described(packet.streams), ""
        context = packet.streams.video.codec_context
        known = bytes(context.extradata or b"")
        # With the length-prefixed form of MP4 and Matroska the sets stand in the header alone.
        found = [] if known[:1] == b"\1" else parameter_sets(_head(packet), context.name)
        if found:
            same = all(each in known for each in found)
            self._sets = "" if same else hashlib.sha256(b"".join(found)).hexdigest()[:12]
        return f"{self._seen} {self._sets}".rstrip()


def end_of(packet: Packet) -> float:
    """Unix seconds after a picture."""
    return packet.time + float(packet.duration * packet.tick) / packet.rate


def drafted(packet: Packet, codecs: str) -> Segment:
    """The segment that a key frame begins, still without number and name."""
    lead = float((packet.pts - packet.dts) * packet.tick)
    return Segment(0, "", packet.time, None, lead, packet.rate, packet.media_time, codecs, 0)


def _begun(path: Path, segment: Segment, streams: Streams, *, sound: bool) -> tuple[OutputContainer, dict[int, Stream]]:
    container = av.open(str(path), "w", format="nut", container_options=_OPTIONS)
    try:
        kept = {name: getattr(segment, name) for name in ("start", "lead", "rate", "media_offset", "codecs")}
        container.metadata[ABOUT] = json.dumps(kept)
        chosen = [streams.video, *([streams.audio] if sound and streams.audio is not None else [])]
        made: dict[int, Stream] = {stream.index: container.add_stream_from_template(stream) for stream in chosen}
        container.start_encoding()
    except (OSError, ValueError):
        container.close()
        raise
    return container, made


def _head(packet: Packet) -> bytes:
    return bytes(memoryview(packet.data)[:_HEAD_BYTES])


def _described(streams: Streams) -> str:
    video, audio = streams.video.codec_context, streams.audio
    extra = hashlib.sha256(bytes(video.extradata or b"")).hexdigest()[:12]
    seen = f"{video.name} {video.width}x{video.height} {extra}"
    return seen if audio is None else f"{seen} + {audio.codec_context.name} {audio.codec_context.sample_rate}"
