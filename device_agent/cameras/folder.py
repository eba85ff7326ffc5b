"""A folder of pictures as a camera: JPEG and PNG files in the order of their names, each a key frame.

In: a folder into which something may go on writing. Out: `Packet`s, one picture a second × speed; those that arrive
later come with the time at which they were found. A name that sorts before the last one played is not seen. It decodes
no picture. Next: `record.py`, `frames.py`.
"""

from __future__ import annotations

import io
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from PIL import Image

from device_agent.cameras.demux import streams_of
from device_agent.cameras.packet import Condition, OnGap, Packet, Streams, no_gap, said
from device_agent.clock import Clock
from foveate.errors import BadVideo

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
"""Media seconds from one picture to the next."""

_TICK = Fraction(1, 1000)
_POLL_S = 0.5
_GROWING_S = 2.0  # a file without an end that changed so lately is still being written
_LATE_S = 1.0
_PIPES = {"JPEG": "jpeg_pipe", "MPO": "jpeg_pipe", "PNG": "png_pipe"}
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
_SUFFIXES = frozenset((".jpg", ".jpeg", ".png"))


@dataclass(frozen=True, slots=True)
class Picture:
    """A whole picture file: its bytes, its format as Pillow names it, and its width and height."""

    data: bytes
    format: str
    size: tuple[int, int]


class FolderCamera:
    """Pictures that are there, then those that come; with `loop` the first ones again and again instead."""

    def __init__(
        self,
        folder: Path,
        *,
        loop: bool,
        speed: float,
        clock: Clock,
        stop: threading.Event,
        on_gap: OnGap = no_gap,
    ) -> None:
        if not folder.is_dir():
            raise BadVideo(f"There is no folder {folder}; make it, or name one that exists.", path=str(folder))
        self._folder, self._loop, self._interval = folder, loop, INTERVAL_S / speed
        self._speed, self._clock, self._stop, self._on_gap = speed, clock, stop, on_gap
        self._coded = _Coded()
        self._start, self._due, self._moment = clock.now(), clock.now(), clock.now()
        self.condition = Condition(False, f"The folder {folder.name} holds no picture yet; put .jpg or .png files in.")

    def packets(self) -> Iterator[Packet]:
        """One packet for each whole picture; those that cannot be read are logged and left out."""
        last = ""
        with self._coded:
            while not self._stop.is_set():
                names = self._names(last)
                for name in names:
                    picture = _whole(self._folder / name, self._growing)
                    if picture is not None:
                        yield from self._play(picture)
                    if self._stop.is_set():
                        return
                    last = name
                if self._loop and last and self._coded.played:
                    last = ""
                    self._coded.part()
                elif not names:
                    self._idle()
                    self._stop.wait(_POLL_S)

    def _play(self, picture: Picture) -> Iterator[Packet]:
        self._clock.wait_until(self._due, self._stop)
        if self._stop.is_set():
            return
        now = self._clock.now()
        self._moment = now if now - self._due > _LATE_S else self._due
        self._due = self._moment + self._interval
        if not self._coded.played:
            self._start = self._moment
        packet = self._coded.packet(picture, (self._moment - self._start) * self._speed)
        if packet is not None:
            self.condition = Condition(True)
            yield replace(packet, time=self._moment, rate=self._speed)

    def _growing(self) -> bool:
        return not self._stop.wait(_POLL_S)

    def _idle(self) -> None:
        patience = max(10.0, 10 * self._interval)
        if self.condition.capturing and self._clock.now() - self._moment > patience:
            trouble = f"The folder {self._folder.name} has got no new picture for {patience:.0f} s."
            self.condition = Condition(False, trouble)
            self._on_gap(self._moment, trouble)

    def _names(self, last: str) -> list[str]:
        try:
            return picture_names(self._folder, after=last)
        except OSError as error:
            if self.condition.capturing:
                self._on_gap(self._moment, f"The folder {self._folder.name} cannot be read.")
            self.condition = Condition(False, f"The folder {self._folder.name} cannot be read: {error.strerror}.")
            return []


class _Coded:
    """Makes packets of pictures; keeps the opening of the first one of each kind, which describes the rest."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._kind: tuple[str, tuple[int, int]] | None = None
        self._streams: Streams | None = None
        self._run = 0

    def __enter__(self) -> _Coded:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def played(self) -> bool:
        """Whether this part has given a packet yet."""
        return self._kind is not None

    def part(self) -> None:
        """The next picture begins a new run."""
        self._kind = None

    def packet(self, picture: Picture, media: float) -> Packet | None:
        """The picture at `media` seconds, still without a time; None, and a line in the log, when FFmpeg refuses it."""
        try:
            streams = self._described(picture)
        except (av.FFmpegError, BadVideo) as error:
            logger.warning("a picture is left out", extra={"error": said(error)})
            return None
        data: av.Packet[Any] = av.Packet(picture.data)
        data.pts = data.dts = round(media / _TICK)
        data.time_base, data.is_keyframe = _TICK, True
        return Packet(
            streams,
            data,
            pts=data.pts,
            dts=data.dts,
            duration=round(INTERVAL_S / _TICK),
            tick=_TICK,
            video=True,
            key=True,
            time=0.0,
            media_time=media,
            rate=1.0,
            run=self._run,
        )

    def _described(self, picture: Picture) -> Streams:
        """The streams of the pictures of this format and size; another one begins a new run."""
        kind = (picture.format, picture.size)
        if self._streams is None or kind != self._kind:
            container = av.open(io.BytesIO(picture.data), "r", format=_PIPES[picture.format])
            streams = streams_of(container)
            self._open.close()
            self._open.enter_context(container)
            self._streams, self._kind, self._run = streams, kind, self._run + 1
        return self._streams


def read_folder(folder: Path, *, base: float, stop: threading.Event | None = None) -> Iterator[Packet]:
    """Every picture of a folder as it is, as fast as it can be read; the first lies at `base` (Unix seconds)."""
    with _Coded() as coded:
        played = 0
        for name in picture_names(folder, after=""):
            if stop is not None and stop.is_set():
                return
            picture = _whole(folder / name, lambda: False)
            packet = None if picture is None else coded.packet(picture, played * INTERVAL_S)
            if packet is not None:
                played += 1
                yield replace(packet, time=base + (packet.media_time or 0.0))
        if not played:
            raise BadVideo(f"The folder {folder} holds no picture; name one with .jpg or .png files.", path=str(folder))


def picture_names(folder: Path, *, after: str) -> list[str]:
    """The names of the picture files, in order, that sort behind `after`; OSError when the folder cannot be read."""
    names = (path.name for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    return sorted(name for name in names if name > after and not name.startswith("."))


def _whole(path: Path, growing: Callable[[], bool]) -> Picture | None:
    """The file when it is a whole picture; one that is being written is waited for as long as `growing` says so."""
    while True:
        try:
            age = time.time() - path.stat().st_mtime
            data = path.read_bytes()
        except OSError as error:
            _left_out(path, error.strerror or "it cannot be read")
            return None
        picture = _picture(data)
        if picture is not None:
            return picture
        if age > _GROWING_S or not growing():
            _left_out(path, "it is broken, or neither JPEG nor PNG")
            return None


def _picture(data: bytes) -> Picture | None:
    """None unless the bytes begin and end like a picture; what lies between is the decoder's to judge."""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as opened:
            warnings.simplefilter("ignore")  # Pillow warns of large pictures, which it is not asked to decode
            name, size = opened.format or "", opened.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    mark = _ENDS.get(name)
    return Picture(data, name, size) if mark is not None and data.rfind(mark) > 0 else None


def _left_out(path: Path, why: str) -> None:
    logger.warning("a picture is left out", extra={"path": str(path), "error": why})
