"""From segments to one clip: packets are copied, not encoded again, so nothing is lost and little is spent.

In: neighbouring segments and a span. Out: an MP4 (QuickTime or Matroska where MP4 cannot hold the codec) that begins
with a key frame, with its true start and end. It does not know who asked or who may see it. Next: `clips.py`, which
decides that.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from device_agent.reading import opened
from device_agent.segments import MARGIN_S, Segment, Segments
from foveate.errors import NotFound, OutOfSpace

logger = logging.getLogger(__name__)

_MP4 = {"h264", "hevc", "av1", "vp9", "mpeg4", "aac", "mp3", "mp3float", "opus", "ac3", "eac3", "alac", "flac"}
_OVERLAP_S = 0.5
_QUICKTIME = {"pcm_mulaw", "pcm_alaw"}  # the sound of many network cameras, which neither MP4 nor Matroska takes


@dataclass(frozen=True, slots=True)
class Cut:
    """A clip on disk: Unix seconds of its first picture and after its last, and its start's place in the source.

    `rate` is how many seconds of it pass in one second of the device's clock. `note` is one sentence when it stops
    before the asked end because the camera changed.
    """

    path: Path
    start: float
    end: float
    media_offset: float | None
    media_type: str
    rate: float = 1.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Part:
    """A segment within the clip: media seconds to add to its file's times, and the first decoding time to take."""

    segment: Segment
    path: Path
    shift: float
    begin: float


def cut(
    segments: Segments, wanted: list[Segment], *, start: float, end: float, target: Path, sound: bool = True
) -> Cut:
    """Joins the segments, from the last key frame at or before `start` to the last picture at or before `end`.

    Stops before a segment with other codecs and says so; gaps between segments stay as long as they were. NotFound when
    no whole picture can be read, OutOfSpace when the clip cannot be written. Blocking.
    """
    usable, note = _joined(wanted)
    made = target
    try:
        with contextlib.ExitStack() as stack:
            template, usable, key = _begun(stack, segments, usable, start=start)
            chosen = [s for s in template.streams if s.type == "video" or (s.type == "audio" and sound)]
            kind = _container({s.codec_context.name for s in chosen})
            made = target.with_suffix(kind.suffix)
            with _opened(made, kind) as output:
                streams = {s.index: output.add_stream_from_template(s) for s in chosen}
                last: dict[int, int] = {}
                parts = _parts(segments, usable, key)
                begins = usable[0].time_at(key[1])
                ends = max(_copied(part, output, streams, last, end=end) for part in parts)
        if ends <= begins:
            raise NotFound("No whole picture was recorded in that span; ask for a longer one.")
    except BaseException as error:
        made.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutOfSpace(f"The clip could not be written ({error.strerror}); free space on the device.") from error
        if isinstance(error, av.FFmpegError):
            raise NotFound("The recording of that span cannot be read; ask for another one.") from error
        raise
    first = usable[0]
    offset = None if first.media_offset is None else first.media_offset + (begins - first.start) * first.rate
    return Cut(made, begins, ends, offset, kind.media_type, first.rate, note)


def _parts(segments: Segments, usable: list[Segment], key: tuple[float, float]) -> list[_Part]:
    """Where each segment lies in the clip, which begins with the key frame decoded and shown at `key`."""
    first, (decoded, shown) = usable[0], key
    begins = first.time_at(shown)
    parts = [_Part(first, segments.path(first), -decoded, decoded)]
    for item in usable[1:]:
        apart = (item.start - begins) * first.rate + (shown - decoded)
        parts.append(_Part(item, segments.path(item), apart - MARGIN_S - item.lead, 0.0))
    return parts


def _joined(wanted: list[Segment]) -> tuple[list[Segment], str]:
    """The segments that make one clip, and a sentence when others follow that cannot."""
    usable = [wanted[0]]
    for item in wanted[1:]:
        last = usable[-1]
        if (item.codecs, item.rate) != (last.codecs, last.rate):
            moment = f"{item.start:.1f} (Unix seconds)"
            return usable, f"The camera's picture or sound changed at {moment}; ask for the rest from there."
        # After a clock that was set back, times were recorded twice; the first recording of them stands.
        if last.end is None or item.start >= last.end - _OVERLAP_S / last.rate:
            usable.append(item)
    return usable, ""


def _begun(
    stack: contextlib.ExitStack, segments: Segments, usable: list[Segment], *, start: float
) -> tuple[InputContainer, list[Segment], tuple[float, float]]:
    """The first segment that can be read, opened, with those after it and the times of the key frame to begin with."""
    for number, item in enumerate(usable):
        try:
            container = stack.enter_context(opened(segments.path(item), item))
        except (av.FFmpegError, OSError) as error:
            logger.warning("a recording cannot be read", extra={"segment": item.name, "error": str(error)})
            continue
        key = _last_key(container, until=MARGIN_S + item.lead + (start - item.start) * item.rate)
        if key is not None:
            return container, usable[number:], key
    raise NotFound("The recording of that span cannot be read; ask for another one.")


@dataclass(frozen=True, slots=True)
class _Container:
    """A file format by FFmpeg's name."""

    name: str
    suffix: str
    media_type: str


def _container(codecs: set[str]) -> _Container:
    """The most widely played format that can hold these codecs."""
    if codecs <= _MP4:
        return _Container("mp4", ".mp4", "video/mp4")
    if codecs & _QUICKTIME:
        return _Container("mov", ".mov", "video/quicktime")
    return _Container("matroska", ".mkv", "video/x-matroska")


def _opened(path: Path, kind: _Container) -> OutputContainer:
    options = {"movflags": "+faststart"} if kind.name in ("mp4", "mov") else {}
    return av.open(str(path), "w", format=kind.name, container_options=options)


def _last_key(container: InputContainer, *, until: float) -> tuple[float, float] | None:
    """Decoding and presentation time of the last key frame shown at or before `until`, else of the first."""
    found: tuple[float, float] | None = None
    for coded in _coded(container):
        if not (coded.video and coded.data.is_keyframe):
            continue
        if found is not None and coded.shown > until + 1e-3:
            break
        found = (coded.decoded, coded.shown)
    return found


def _copied(
    part: _Part, output: OutputContainer, made: dict[int, Stream], last: dict[int, int], *, end: float
) -> float:
    """Copies one segment's packets up to `end`; returns Unix seconds after its last picture.

    `last` holds the last decoding time that each stream was given; times only ever grow.
    """
    reached, over = part.segment.start, False
    with contextlib.ExitStack() as stack:
        try:
            container = stack.enter_context(opened(part.path, part.segment, quick=True))
        except (av.FFmpegError, OSError) as error:
            logger.warning("a recording cannot be read", extra={"segment": part.segment.name, "error": str(error)})
            return reached
        for coded in _coded(container):
            data = coded.data
            if data.stream_index not in made or coded.decoded < part.begin - 1e-6:
                continue
            # What is decoded after the end is not needed for anything shown before it.
            over = over or part.segment.time_at(coded.decoded) > end
            if over and coded.video:
                break
            move = round(part.shift / coded.tick)
            if over or coded.dts + move <= last.get(data.stream_index, coded.dts + move - 1):
                continue
            last[data.stream_index] = coded.dts + move
            if coded.video:
                reached = max(reached, part.segment.time_at(coded.shown + float(coded.duration * coded.tick)))
            data.pts, data.dts = coded.pts + move, coded.dts + move
            data.stream = made[data.stream_index]
            output.mux(data)
    return reached


@dataclass(slots=True)
class _Coded:
    """A packet with the times that its file gives it, in `tick`s."""

    data: av.Packet[Any]
    pts: int
    dts: int
    duration: int
    tick: Fraction
    video: bool

    @property
    def shown(self) -> float:
        return float(self.pts * self.tick)

    @property
    def decoded(self) -> float:
        return float(self.dts * self.tick)


def _coded(container: InputContainer) -> Iterator[_Coded]:
    """Packets with both times; reordered pictures at a file's start have no decoding time, so it is counted back."""
    waiting: list[_Coded] = []
    try:
        for data in container.demux():
            if not data.size or data.pts is None:
                continue
            dts, duration = data.pts if data.dts is None else data.dts, data.duration or 0
            coded = _Coded(data, data.pts, dts, duration, data.time_base, data.stream.type == "video")
            if data.dts is None:
                waiting.append(coded)
                continue
            if waiting and data.stream_index == waiting[0].data.stream_index:
                yield from _counted_back(waiting, coded.dts)
                waiting = []
            yield coded
    except av.FFmpegError:
        # The file is still being written, or its writer was killed: what came before is whole.
        logger.debug("a segment ends early", extra={"file": container.name})
    yield from _counted_back(waiting, None)


def _counted_back(waiting: list[_Coded], following: int | None) -> list[_Coded]:
    if not waiting:
        return []
    step = max(1, waiting[0].duration)
    known = waiting[0].pts + step * len(waiting) if following is None else following
    for count, coded in enumerate(reversed(waiting), start=1):
        coded.dts = min(coded.pts, known - count * step)
    return waiting
