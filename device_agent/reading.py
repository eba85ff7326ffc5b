"""One segment's file as it is on disk: perhaps still being written, perhaps left behind by a killed process.

In: a file, and how much of it is whole. Out: an opened container that ends with a whole packet, what the file says of
itself, and where its last picture ends. It knows no index. Next: `record.py`, which settles what a killed process
left, and `cut.py`, which copies packets.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer

from device_agent.segments import Segment

logger = logging.getLogger(__name__)

ABOUT = "foveate"
"""Under this name a segment's file carries what the index says of it, as JSON."""


# Opening a file, FFmpeg decodes a picture (3 ms at 768x576), which only the first of a clip's segments needs: its
# header goes into the clip's. With these decoders alone it does not; packets stay the same, sound keeps its lengths.
_QUICK = {"codec_whitelist": "aac,aac_latm,mp3,mp3float,ac3,eac3,opus,vorbis,alac,flac"}


class _Front:
    """The first `size` bytes of a file and then some others, read once from front to back."""

    def __init__(self, file: BinaryIO, size: int, after: bytes = b"") -> None:
        self._file, self._left, self._after = file, size, after

    def read(self, count: int) -> bytes:
        data = self._file.read(min(count, self._left))
        self._left -= len(data)
        if not data:
            data, self._after = self._after[:count], self._after[count:]
        return data


@contextlib.contextmanager
def opened(path: Path, segment: Segment, *, quick: bool = False) -> Iterator[InputContainer]:
    """The file, as far as it was whole when `segment` was looked up; FFmpegError or OSError when it cannot be read.

    A `quick` one is good for packets, not to describe the streams of another file by.
    """
    options = _QUICK if quick else {}
    with contextlib.ExitStack() as stack:
        if 0 < segment.size_bytes < path.stat().st_size:
            front = _Front(stack.enter_context(path.open("rb")), segment.size_bytes)
            yield stack.enter_context(av.open(front, "r", format="nut", container_options=options))
        else:
            yield stack.enter_context(av.open(str(path), container_options=options))


def settled(path: Path) -> float | None:
    """Seconds, in the file's own time, after its last picture; None when no picture can be read.

    A packet that was being written when the process was killed is cut off: FFmpeg would hand out what there is of it.
    """
    last: float | None = None
    torn: int | None = None
    try:
        size = path.stat().st_size
        # One byte more, into which only a packet that is not whole reaches.
        with (
            path.open("rb") as file,
            av.open(_Front(file, size, after=b"\0"), "r", format="nut", container_options=_QUICK) as container,
        ):
            video = container.streams.video[0].index
            for data in container.demux():
                if not data.size or data.pts is None or data.time_base is None:
                    continue
                if data.pos is not None and data.pos + data.size > size:
                    torn = data.pos
                elif data.stream_index == video:
                    last = max(last or 0.0, float((data.pts + (data.duration or 0)) * data.time_base))
    except (av.FFmpegError, OSError, IndexError):
        logger.debug("a segment ends early", extra={"path": str(path)})
    if torn is not None:
        os.truncate(path, torn)
    return last


def described(path: Path) -> Segment | None:
    """What a segment's file says of itself, still without its end; None when it says nothing that can be read."""
    try:
        with av.open(str(path), container_options=_QUICK) as container:
            about = json.loads(container.metadata[ABOUT])
        offset = about["media_offset"]
        return Segment(
            0,
            path.name,
            start=float(about["start"]),
            end=None,
            lead=float(about["lead"]),
            rate=float(about["rate"]),
            media_offset=None if offset is None else float(offset),
            codecs=str(about["codecs"]),
            size_bytes=path.stat().st_size,
        )
    except (av.FFmpegError, OSError, ValueError, KeyError, TypeError) as error:
        logger.debug("a file does not say what it holds", extra={"path": str(path), "error": str(error)})
        return None
