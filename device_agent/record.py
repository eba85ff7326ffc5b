"""The recorder: a ring buffer of segments on the device's disk, as coded by the camera, never encoded again.

In: every `Packet`, the spans that matter, and what the camera complains of. Out: files of at least two seconds that
begin with a key frame, the least worth deleted first, and a list of gaps. It never stops silently: `trouble` says what
is wrong or what was given up. It decodes nothing. Next: `cut.py`, which makes clips of segments.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av

from device_agent.capture import Packet
from device_agent.cut import Cut, cut
from device_agent.gaps import Gaps
from device_agent.index import Index
from device_agent.protect import Protected
from device_agent.reading import described, settled
from device_agent.rules import Retention
from device_agent.segments import Segment, Segments
from device_agent.watchdog import Watchdog, free_bytes_of
from device_agent.writing import Codecs, Writing, drafted
from foveate.commands import Gap, Kept
from foveate.errors import NotFound, OutOfSpace
from foveate.messages import Priority

logger = logging.getLogger(__name__)

SHORTEST_S = 2.0
LONGEST_S = 3600.0
"""A segment ends after an hour, or a quarter of the ring, even when the camera sends no key frame to begin another."""

MISSING_S = 0.8
"""Pictures further apart than this, and than four usual distances, have a gap between them."""

_JUMP_S = 30.0  # further than this within one run, a time is wrong
_LOOK_S, _LOOK_BYTES = 1.0, 1 << 20  # how often space is looked at between key frames
_FAULTS = 20  # packets in a row that cannot be written, before the file itself is held to be broken
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = (OutOfSpace, OSError, av.FFmpegError, ValueError)


class Recorder:
    """Keeps what the camera sent for as long as `Retention` and the disk allow."""

    def __init__(
        self,
        folder: Path,
        *,
        retention: Retention,
        free_bytes: Callable[[Path], int] = free_bytes_of,
    ) -> None:
        """Opens the ring in `folder` and settles what a killed process left. OutOfSpace: it cannot be used."""
        self._index = Index(folder)
        self._segments = Segments(self._index, folder, protected=Protected(folder / "protected.txt"))
        self._watchdog = Watchdog(self._segments, retention, free_bytes=free_bytes)
        self._most_bytes = max(1 << 20, retention.max_bytes // 4)
        self._codecs = Codecs()
        self._open: Writing | None = None
        self._owed: deque[tuple[float, float, Priority]] = deque(maxlen=256)
        self._untidy, self._stopped, self._faults = False, "", 0
        self._last: tuple[float, int, str] | None = None  # end, run and codecs of what was recorded last
        self._step, self._looked, self._unnoted = 0.0, (0.0, 0), ""
        self._tidy()
        self._gaps = Gaps(self._index)
        before = self._segments.newest_end()
        self._waiting = before is not None and not self._gaps.open
        if before is not None:
            self._gaps.begin(before, "The agent was not running.")

    @property
    def trouble(self) -> str:
        """One sentence while nothing can be recorded, or soon after older footage was given up; else empty."""
        return self._stopped or self._watchdog.alarm

    @property
    def alarm(self) -> str:
        """One sentence that says what was given up in the last ten minutes of trouble; else empty."""
        return self._watchdog.alarm

    def record(self, packet: Packet) -> None:
        """Writes one packet; a problem of the disk or the packet is noted in `trouble` and `gaps`, never raised."""
        try:
            if packet.video:
                self._prepare(packet)
            if self._open is not None and packet.run == self._open.run:
                self._write(self._open, packet)
        except _REFUSED as error:
            self._fail(error, packet)

    def protect(self, start: float, end: float, priority: Priority) -> None:
        """Keeps footage of [start, end] (Unix seconds), already recorded or to come, as long as `priority` deserves.

        The highest priority wins and survives a restart; call it again as an event grows. Blocking (a short write).
        """
        try:
            self._segments.protect(start, end, priority)
        except OutOfSpace as error:
            self._owed.append((start, end, priority))
            logger.warning("footage is not marked yet: %s", error)

    def gap(self, start: float, reason: str) -> None:
        """Notes that there is no footage from `start` on (or from the last picture); the next picture ends it."""
        try:
            if self._waiting:
                self._waiting = False
                self._gaps.end(start, least_s=0.0)  # the agent runs again, but now this keeps it from recording
            self._gaps.begin(start if self._last is None else self._last[0], reason)
        except OutOfSpace as error:
            self._unnoted = reason
            logger.warning("a gap is not noted yet: %s", error)

    def gaps(self) -> tuple[Gap, ...]:
        """Spans without footage and why, newest last, at most 256. OutOfSpace when the index cannot be read."""
        return self._gaps.all()

    def kept(self) -> tuple[Kept, ...]:
        """What is held of each priority, idle footage first. OutOfSpace when the index cannot be read."""
        return self._segments.kept()

    def pause(self) -> None:
        """Ends the segment that is being written; what was recorded can still be cut."""
        try:
            self._end()
        except _REFUSED as error:
            self._untidy = True
            logger.warning("the last segment was not finished", extra={"error": str(error)})

    def close(self) -> None:
        """Ends the segment that is being written and closes the index."""
        self.pause()
        self._index.close()

    def held(self) -> tuple[float, float] | None:
        """Unix seconds from the oldest to the newest picture that is kept; None when there is none."""
        span, writing = self._segments.span(), self._open
        return span if span is None or writing is None else (span[0], max(span[1], writing.end))

    def cut(self, start: float, end: float, *, target: Path, sound: bool = True) -> Cut:
        """One clip that covers [start, end] as far as it was recorded, written to `target` plus a suffix.

        Its own start is the last key frame at or before `start`. NotFound, naming what is held, when nothing overlaps;
        OutOfSpace when the clip cannot be written. Blocking.
        """
        with self._segments.borrowed(start, end) as found:
            writing = self._open
            known = [
                replace(item, end=writing.end, size_bytes=writing.whole_bytes())
                if writing and item.number == writing.segment.number
                else item
                for item in found
            ]
            wanted = [item for item in known if (item.end or item.start) >= start]
            if wanted:
                return cut(self._segments, wanted, start=start, end=end, target=target, sound=sound)
        raise NotFound(f"Nothing was recorded in that span; {self._told()}.")

    def _prepare(self, packet: Packet) -> None:
        """Begins, ends or tends the segment that this picture belongs to."""
        writing = self._open
        if packet.key:
            codecs = self._codecs.of(packet)
            if writing is None or self._due(writing, packet, codecs):
                self._rotate(packet, codecs)
                return
        if writing is not None and packet.run == writing.run:
            self._tend(writing, packet)

    def _due(self, writing: Writing, packet: Packet, codecs: str) -> bool:
        elapsed = packet.time - writing.segment.start
        ended = packet.run != writing.run or codecs != writing.segment.codecs
        return ended or not 0 <= elapsed < SHORTEST_S / packet.rate

    def _rotate(self, packet: Packet, codecs: str) -> None:
        self._end()
        if self._untidy:
            self._tidy()
        while self._owed:
            self._segments.protect(*self._owed[0])
            self._owed.popleft()
        if not self._watchdog.tend(packet.time, writing=0):
            self._stop("The disk is full; recording goes on when there is space.", "The disk was full.", packet)
            return
        self._looked = (packet.time, 0)
        segment = self._segments.begin(drafted(packet, codecs))
        self._untidy = True  # until its file is there
        self._open = Writing(self._segments.path(segment), segment, packet)
        self._untidy = False
        if self._stopped:
            logger.info("recording again")
        self._stopped = ""

    def _tend(self, writing: Writing, packet: Packet) -> None:
        """Between key frames: space is looked at, and what cannot go on is ended."""
        if abs(packet.time - writing.end) > max(_JUMP_S, 10 * self._step):
            self._end()
            self._stop("The camera's times jump; recording goes on at its next key frame.", "Times jumped.", packet)
            return
        size, (time, taken) = writing.size_bytes, self._looked
        if packet.time - time < _LOOK_S and size - taken < _LOOK_BYTES:
            return
        self._looked = (packet.time, size)
        if not self._watchdog.tend(packet.time, writing=size):
            self._end()
            self._stop("The disk is full; recording goes on when there is space.", "The disk was full.", packet)
        elif size > self._most_bytes or packet.time - writing.segment.start > LONGEST_S:
            self._end()
            self._stop(
                "The camera sends key frames too seldom; set it to send one at least every minute.",
                "No key frame came for too long.",
                packet,
            )

    def _write(self, writing: Writing, packet: Packet) -> None:
        try:
            written = writing.write(packet)
        except ValueError as error:  # FFmpeg's word for a packet that makes no sense; OSError is the disk's
            self._faults += 1
            if self._faults >= _FAULTS:
                raise
            logger.debug("a packet was left out", extra={"error": str(error)})
            if packet.video:
                self.gap(packet.time, "Packets were damaged.")
            return
        if written and packet.video:
            self._faults = 0
            self._follow(writing, packet)

    def _follow(self, writing: Writing, packet: Packet) -> None:
        """Notes a picture that is recorded, and what is missing before it."""
        codecs, before = writing.segment.codecs, self._last
        duration = float(packet.duration * packet.tick) / packet.rate
        apart = duration if before is None else packet.time - before[0] + duration
        far = max(MISSING_S / packet.rate, 4 * self._step)
        self._waiting = False
        if self._gaps.open:
            self._gaps.end(packet.time, least_s=self._step / 2)
        elif before is not None and self._step and packet.time - before[0] > far:
            self._gaps.add(before[0], packet.time, self._unnoted or _reason(before, packet.run, codecs))
        # Pictures may come irregularly: the longest distance counts, and is slowly forgotten.
        self._step = max(apart, 0.9 * self._step)
        self._last, self._unnoted = (writing.end, packet.run, codecs), ""

    def _end(self) -> None:
        writing, self._open = self._open, None
        if writing is not None:
            self._untidy = True  # until it is settled
            writing.close()
            size = writing.path.stat().st_size
            self._segments.finish(writing.segment, end=writing.end, size_bytes=size)
            self._untidy = False

    def _stop(self, sentence: str, reason: str, packet: Packet) -> None:
        """Nothing is recorded until a key frame finds room again."""
        if sentence != self._stopped:
            logger.warning("%s", sentence)
        self._stopped = sentence
        self.gap(packet.time, reason)

    def _fail(self, error: Exception, packet: Packet) -> None:
        """Leaves what was written so far readable and waits for the next key frame."""
        writing, self._open = self._open, None
        self._untidy, self._faults = True, 0
        what = getattr(error, "strerror", None) or str(error)
        remedy = "free space on this device" if isinstance(error, OSError) else "check the camera"
        sentence = f"Recording failed ({what}); {remedy}, it is tried again at the next key frame."
        try:
            if writing is not None:
                writing.close()
        except _REFUSED:
            logger.debug("the broken segment could not be closed")
        try:
            if getattr(error, "errno", None) in _NO_SPACE:
                self._watchdog.thin(packet.time)  # first, since on a full disk not even the index can be written
        except OutOfSpace as second:
            logger.warning("%s", second)
        self._stop(error.message if isinstance(error, OutOfSpace) else sentence, f"Recording failed ({what}).", packet)

    def _tidy(self) -> None:
        """Settles what a killed process or a failure left behind: whole up to its last packet, or nothing."""
        if self._index.damaged:
            self._index.reopen()
            self._gaps = Gaps(self._index)
        known = self._segments.all()
        for item in known:
            if item.end is None or not self._segments.path(item).exists():
                self._settle(item)
        names = {item.name for item in known}
        for path in sorted(self._segments.folder.glob("*.nut")):
            if path.name not in names:
                self._adopt(path)
        self._untidy = False

    def _settle(self, segment: Segment) -> None:
        path = self._segments.path(segment)
        seconds = settled(path)
        if seconds is None:
            logger.warning("dropped an unfinished segment that holds no picture", extra={"segment": segment.name})
            self._segments.drop(segment)
            return
        self._segments.finish(segment, end=segment.time_at(seconds), size_bytes=path.stat().st_size)
        logger.info("recovered an unfinished segment", extra={"segment": segment.name})

    def _adopt(self, path: Path) -> None:
        """Takes in a file that the index does not know, by what it says of itself."""
        seconds = settled(path)
        found = described(path)
        if found is None or seconds is None:
            with contextlib.suppress(OSError):
                path.unlink()
            logger.warning("deleted a file that is no recording", extra={"path": str(path)})
            return
        self._segments.adopt(replace(found, end=found.time_at(seconds)))
        logger.info("took in a recording that the index did not know", extra={"segment": path.name})

    def _told(self) -> str:
        span = self.held()
        if span is None:
            return "this device has recorded nothing yet"
        return f"this device holds {span[0]:.1f} to {span[1]:.1f} (Unix seconds): ask for a part of that"


def _reason(before: tuple[float, int, str], run: int, codecs: str) -> str:
    """Why pictures are missing between what was recorded last and now."""
    if codecs != before[2]:
        return "The camera changed its codec or resolution."
    return "The camera began a new timeline." if run != before[1] else "Packets were missing or damaged."
