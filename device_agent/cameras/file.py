"""Video files: read as fast as they can be, or played in real time like a camera.

In: a path. Out: `Packet`s with their time. Damage is stepped over; where a file's clock starts anew, as in recordings
that were joined, what follows goes on behind what was before. Next: `record.py`, `frames.py` and `hear.py`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

import av
from av.container import InputContainer

from device_agent.cameras.demux import Damage, demuxed, streams_of
from device_agent.cameras.packet import Condition, OnGap, Packet, backoff, no_gap, said, seconds
from device_agent.clock import Clock
from foveate.errors import BadVideo

logger = logging.getLogger(__name__)

_LATE_S = 1.0  # behind the clock, before playing skips ahead
_PAUSE_S = 0.5  # between passes over a file that gives nothing
_BEFORE_BYTES = 5 * 188  # the tables of a transport stream stand just before its first picture


def read_file(path: Path, *, base: float, stop: threading.Event | None = None) -> Iterator[Packet]:
    """Every packet of one pass over a file, as fast as it can be read; its first picture lies at `base` (Unix seconds).

    BadVideo for what is no video. What is damaged is stepped over, as when the file is played. Blocking; set `stop`
    to end early.
    """
    check_file(path)
    for packet in _passed(path, partial(_logged, path)):
        if stop is not None and stop.is_set():
            return
        media = packet.media_time or 0.0
        yield packet.at(base + media, media_time=media, rate=1.0, run=packet.run)


class FileCamera:
    """A video file played in real time × `speed`, once or for ever; later passes continue the timeline."""

    def __init__(
        self,
        path: Path,
        *,
        loop: bool,
        speed: float,
        clock: Clock,
        stop: threading.Event,
        on_gap: OnGap = no_gap,
    ) -> None:
        self._path, self._loop, self._speed = path, loop, speed
        self._clock, self._stop, self._on_gap = clock, stop, on_gap
        self._run, self._moment = 0, clock.now()
        self.condition = Condition(capturing=False)
        check_file(path)

    def packets(self) -> Iterator[Packet]:
        """Every packet of each pass; a pass that breaks keeps what was read."""
        following: float | None = None
        delays = backoff()
        while not self._stop.is_set():
            try:
                following = yield from self._play(following)
                delays = backoff()
            except (av.FFmpegError, OSError, BadVideo) as error:
                trouble = f"The file {self._path.name} cannot be read: {said(error)}."
                self.condition = Condition(False, trouble)
                self._on_gap(self._moment, trouble)
                logger.warning("cannot read the file", extra={"path": str(self._path), "error": said(error)})
                self._stop.wait(next(delays))
                continue
            if not self._loop:
                break
            if following <= self._clock.now() - _LATE_S:
                self._stop.wait(_PAUSE_S)  # a file that lost its pictures would spin
        if not self._stop.is_set():
            self.condition = Condition(False, f"The file {self._path.name} has ended.")

    def _play(self, following: float | None) -> Generator[Packet, None, float]:
        """One pass; returns the moment at which the next pass begins."""
        now = self._clock.now()
        # Later passes follow without a gap, unless the machine was too slow or slept: then time wins.
        start = now if following is None or now - following > _LATE_S else following
        end, part = start, 0
        for packet in _passed(self._path, self._damaged):
            media = packet.media_time or 0.0
            due = start + (media + seconds(packet.dts - packet.pts, packet.tick)) / self._speed
            late = self._clock.now() - due
            if packet.run != part:
                part, self._run = packet.run, self._run + 1
            if packet.key and late > _LATE_S:
                logger.info("playing is late; the timeline skips ahead", extra={"late_s": round(late, 1)})
                start, due, self._run = start + late, due + late, self._run + 1
            self._clock.wait_until(due, self._stop)
            if self._stop.is_set():
                break
            moment = start + media / self._speed
            self._moment = end = max(end, moment + seconds(packet.duration, packet.tick) / self._speed)
            self.condition = Condition(True)
            yield packet.at(moment, media_time=media, rate=self._speed, run=self._run)
        return end

    def _damaged(self, what: str) -> None:
        _logged(self._path, what)
        self._on_gap(self._moment, f"The file {self._path.name} is damaged here: {what}.")


def check_file(path: Path) -> None:
    """BadVideo, with the reason, unless the file opens and holds a video packet."""
    if not path.exists():
        raise BadVideo(f"There is no file {path}; name a video that exists.", path=str(path))
    if not path.is_file():
        raise BadVideo(f"{path} is not a file; name a video file.", path=str(path))
    try:
        with av.open(str(path)) as container:
            streams = streams_of(container)
            for data in container.demux(streams.video):
                if data.size:
                    return
    except BadVideo as error:
        raise BadVideo(f"{path} holds no video; name a file with pictures in it.", path=str(path)) from error
    except (av.FFmpegError, OSError) as error:
        raise BadVideo(
            f"{path} is no video that can be played: {said(error)}; it may be truncated: copy it again.",
            path=str(path),
        ) from error
    raise BadVideo(f"{path} holds no picture at all; it may be truncated: copy it again.", path=str(path))


class _Joined:
    """One media time over parts whose ticks start anew: the next part follows the one before it."""

    def __init__(self) -> None:
        self._shift: float | None = None
        self._end = 0.0
        self._run = 0
        self.run = 1

    def placed(self, packet: Packet) -> Packet:
        """The packet with its media time and run."""
        media = seconds(packet.pts, packet.tick)
        if self._shift is None:
            # Sound may begin a little before; the first picture is what a person calls the beginning.
            begin = packet.streams.video.start_time if self.run == 1 else None
            tick = packet.streams.video.time_base
            self._shift = self._end - (media if begin is None or tick is None else seconds(begin, tick))
        elif packet.run != self._run:
            self.run += 1
            if not self.continues(packet):
                self._shift = self._end - media
        self._run = packet.run
        placed = media + self._shift
        if packet.video:
            self._end = max(self._end, placed + seconds(packet.duration, packet.tick))
        return packet.at(0.0, media_time=placed, rate=1.0, run=self.run)

    def continues(self, packet: Packet) -> bool:
        """Whether the packet's ticks go on where the last ones were."""
        shift = 0.0 if self._shift is None else self._shift
        return abs(seconds(packet.pts, packet.tick) + shift - self._end) < _LATE_S

    def reopened(self) -> None:
        """What follows comes from another opening, whose runs count from 0."""
        self._shift, self._run, self.run = None, 0, self.run + 1


def _passed(path: Path, damage: Damage) -> Iterator[Packet]:
    """The packets of one pass with their media time, run from 1; a joined transport stream is opened at each joint."""
    joined, offset = _Joined(), 0
    while True:
        with _opened(path, offset) as container:
            joint = yield from _part(container, joined, damage)
        if joint is None:
            return
        offset += joint
        joined.reopened()


def _part(container: InputContainer, joined: _Joined, damage: Damage) -> Generator[Packet, None, int | None]:
    """The packets up to a joint; returns how far into the opening it lies, None at the end."""
    run = 0
    for packet in demuxed(container, streams_of(container), damage):
        if packet.run != run and not joined.continues(packet):
            logger.info("the file's clock starts anew; what follows goes on behind it")
            joint = (packet.data.pos or 0) - _BEFORE_BYTES
            # FFmpeg would go on with the first part's codecs; only where a part can be opened alone is there a remedy.
            if container.format.name == "mpegts" and joint > _BEFORE_BYTES:
                return joint
        run = packet.run
        yield joined.placed(packet)
    return None


def _opened(path: Path, offset: int) -> InputContainer:
    source = f"subfile,,start,{offset},end,0,,:{path}" if offset else str(path)
    return av.open(source, container_options={"fflags": "+genpts"})


def _logged(path: Path, what: str) -> None:
    logger.warning("a gap: the file is damaged here", extra={"path": str(path), "error": what})
