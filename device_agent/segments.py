"""The segments of the ring buffer: which there are, what each holds, and what would go first.

In: what the recorder wrote, and which spans matter. Out: the segments that overlap a span, and those to give up, least
worth first. A segment without an end was being written when its process was killed. It opens no media.
Next: `record.py` fills it, `watchdog.py` empties it, `cut.py` reads the files it names.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from device_agent.index import Index
from device_agent.protect import Protected
from foveate.commands import Kept
from foveate.errors import OutOfSpace
from foveate.messages import Priority

logger = logging.getLogger(__name__)

_COLUMNS = "number, name, start, end, lead, rate, media_offset, codecs, bytes, priority"
_BATCH = 64
_NAME = re.compile(r"(\d{10})\.nut")

MARGIN_S = 1.0
"""In a segment's file the first key frame is decoded at this time: sound may lie a little before it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A slice of recorded media that begins with a key frame.

    `start` and `end` are Unix seconds of the first and after the last picture, `end` is None while it is written.
    `lead` is the first picture's presentation after its decoding, `rate` media seconds per second, `media_offset`
    the start's place in the source. Only segments of equal `codecs` can be joined. `priority` is 0 for idle footage.
    """

    number: int
    name: str
    start: float
    end: float | None
    lead: float
    rate: float
    media_offset: float | None
    codecs: str
    size_bytes: int
    priority: int = 0

    def time_at(self, seconds: float) -> float:
        """Unix seconds of a presentation time in the segment's file."""
        return self.start + (seconds - MARGIN_S - self.lead) / self.rate


class Segments:
    """The segments, safe from any thread; OutOfSpace when the index or a file cannot be changed."""

    def __init__(self, index: Index, folder: Path, *, protected: Protected) -> None:
        self._index, self.folder, self._protected = index, folder, protected
        self._lock = threading.RLock()
        self._pinned: Counter[int] = Counter()
        self._total: int | None = None

    def path(self, segment: Segment) -> Path:
        """Where its file lies."""
        return self.folder / segment.name

    def begin(self, draft: Segment) -> Segment:
        """Notes a segment that will be written; returns it with its number and name. The row comes before the file."""
        with self._lock:
            found = self._index.rows("SELECT seq FROM sqlite_sequence WHERE name = 'segment'")
            number = int(found[0][0]) + 1 if found else 1
            while (self.folder / _name(number)).exists():
                number += 1
            segment = replace(draft, number=number, name=_name(number), end=None)
            self._insert(segment, number=number)
        return segment

    def adopt(self, found: Segment) -> None:
        """Notes a whole segment whose row was lost; its place in the order is in its name."""
        with self._lock:
            named = _NAME.fullmatch(found.name)
            number = int(named[1]) if named and not self._found("WHERE number = ?", int(named[1])) else None
            priority = self._protected.of(found.start, found.end or found.start)
            self._insert(replace(found, priority=priority), number=number)
            self._total = None

    def finish(self, segment: Segment, *, end: float, size_bytes: int) -> None:
        """Notes that a segment is whole, and what it is worth."""
        with self._lock:
            self._index.change(
                "UPDATE segment SET end = ?, bytes = ?, priority = max(priority, ?) WHERE number = ?",
                end,
                size_bytes,
                self._protected.of(segment.start, end),
                segment.number,
            )
            self._total = None if self._total is None else self._total + size_bytes

    def drop(self, segment: Segment) -> bool:
        """Deletes the file, then the row, so a crash leaves no unknown file; not while `borrowed`."""
        with self._lock:
            if self._pinned[segment.number]:
                return False
            try:
                self.path(segment).unlink(missing_ok=True)
            except OSError as error:
                raise OutOfSpace(
                    f"The recording {segment.name} cannot be deleted ({error.strerror}); check the device's disk."
                ) from error
            self._total = None if self._total is None else self._total - segment.size_bytes
            self._index.change("DELETE FROM segment WHERE number = ?", segment.number)
            return True

    def protect(self, start: float, end: float, priority: Priority) -> None:
        """Raises whole segments that overlap [start, end]; those to come are raised when they are finished."""
        with self._lock:
            # First in the list, which takes it even when the disk is full.
            self._protected.add(start, end, priority)
            if self._protected.crowded:
                self._protected.forget(before=(self.span() or (start, end))[0])
            self._index.change(
                "UPDATE segment SET priority = ? WHERE end >= ? AND start <= ? AND +priority < ?",
                int(priority),
                start,
                end,
                int(priority),
            )

    def all(self) -> list[Segment]:
        """Every segment in the order in which they were recorded."""
        return self._found("ORDER BY number")

    @contextlib.contextmanager
    def borrowed(self, start: float, end: float) -> Iterator[list[Segment]]:
        """The segments that overlap [start, end], by time; none of them is deleted before the context ends."""
        with self._lock:
            found = self._found("WHERE start <= ? AND (end IS NULL OR end >= ?) ORDER BY start, number", end, start)
            self._pinned.update(item.number for item in found)
        try:
            yield found
        finally:
            with self._lock:
                self._pinned.subtract(item.number for item in found)
                self._pinned = +self._pinned

    def expired(self, priority: int, before: float) -> list[Segment]:
        """A few segments of a priority (0: idle) that ended before a moment, oldest first."""
        return self._spare("WHERE priority = ? AND end < ? ORDER BY end", priority, before)

    def cheapest(self, *, since: float, now: float) -> list[Segment]:
        """A few whole segments that are worth least: idle before low and so on, then oldest first.

        Idle footage of [since, now] comes last: the next event may need it as its pre-roll.
        """
        return (
            self._spare(
                "WHERE priority = 0 AND end IS NOT NULL AND NOT end BETWEEN ? AND ? ORDER BY number", since, now
            )
            or self._spare("WHERE priority > 0 AND end IS NOT NULL ORDER BY priority, number")
            or self._spare("WHERE end IS NOT NULL ORDER BY number")
        )

    def size_bytes(self) -> int:
        """Bytes of all whole segments."""
        with self._lock:
            if self._total is None:
                self._total = int(self._index.rows("SELECT coalesce(sum(bytes), 0) FROM segment")[0][0])
            return self._total

    def span(self) -> tuple[float, float] | None:
        """Unix seconds of the first picture and after the last that is whole; None when there is none."""
        ((start, end),) = self._index.rows("SELECT min(start), max(coalesce(end, start)) FROM segment")
        return None if start is None else (float(start), float(end))

    def newest_end(self) -> float | None:
        """Unix seconds after the last picture of the segment that was recorded last."""
        found = self._index.rows("SELECT coalesce(end, start) FROM segment ORDER BY number DESC LIMIT 1")
        return float(found[0][0]) if found else None

    def kept(self) -> tuple[Kept, ...]:
        """Bytes and oldest moment of each priority that is there, idle footage first."""
        rows = self._index.rows("SELECT priority, sum(bytes), min(start) FROM segment GROUP BY priority")
        return tuple(Kept(Priority(rank) if rank else None, int(size), float(start)) for rank, size, start in rows)

    def _insert(self, segment: Segment, *, number: int | None) -> None:
        self._index.change(
            f"INSERT INTO segment ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            number,
            segment.name,
            segment.start,
            segment.end,
            segment.lead,
            segment.rate,
            segment.media_offset,
            segment.codecs,
            segment.size_bytes,
            segment.priority,
        )

    def _spare(self, rest: str, *values: float) -> list[Segment]:
        """At most a batch of what a clip being cut does not need."""
        found = self._found(f"{rest} LIMIT ?", *values, _BATCH + len(self._pinned))
        return [item for item in found if not self._pinned[item.number]][:_BATCH]

    def _found(self, rest: str, *values: object) -> list[Segment]:
        return [Segment(*row) for row in self._index.rows(f"SELECT {_COLUMNS} FROM segment {rest}", *values)]


def _name(number: int) -> str:
    return f"{number:010d}.nut"
