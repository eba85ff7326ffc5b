"""The index of what was recorded: one row for each segment in the ring buffer.

In: what the recorder wrote. Out: the segments that overlap a span, and what is held altogether. SQLite in WAL mode, so
that it survives the process; a segment without an end was being written when it was killed. It opens no media.
Next: `record.py` writes it, `cut.py` reads the files it names.
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS segment (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  start REAL NOT NULL,
  end REAL,
  lead REAL NOT NULL,
  rate REAL NOT NULL,
  media_offset REAL,
  codecs TEXT NOT NULL,
  bytes INTEGER NOT NULL
)
"""
_COLUMNS = "number, name, start, end, lead, rate, media_offset, codecs, bytes"

MARGIN_S = 1.0
"""In a segment's file the first key frame is decoded at this time: sound may lie a little before it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A slice of recorded media that begins with a key frame.

    `start` and `end` are Unix seconds of the first and after the last picture, `end` is None while it is written.
    `lead` is the first picture's presentation after its decoding, `rate` media seconds per second, `media_offset`
    the start's place in the source. Only segments of equal `codecs` can be joined.
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

    def time_at(self, seconds: float) -> float:
        """Unix seconds of a presentation time in the segment's file."""
        return self.start + (seconds - MARGIN_S - self.lead) / self.rate


class Segments:
    """The index, safe from any thread."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = threading.Lock()
        self._database = sqlite3.connect(folder / "index.sqlite", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(_SCHEMA)

    def path(self, segment: Segment) -> Path:
        """Where its file lies."""
        return self.folder / segment.name

    def begin(self, segment: Segment) -> Segment:
        """Notes a segment that is being written; returns it with its number."""
        with self._lock:
            cursor = self._database.execute(
                f"INSERT INTO segment ({_COLUMNS}) VALUES (NULL, ?, ?, NULL, ?, ?, ?, ?, 0)",
                (segment.name, segment.start, segment.lead, segment.rate, segment.media_offset, segment.codecs),
            )
            number = int(cursor.lastrowid or 0)
        return Segment(
            number,
            segment.name,
            segment.start,
            None,
            segment.lead,
            segment.rate,
            segment.media_offset,
            segment.codecs,
            0,
        )

    def finish(self, segment: Segment, *, end: float, size_bytes: int) -> None:
        """Notes that a segment is whole."""
        with self._lock:
            self._database.execute(
                "UPDATE segment SET end = ?, bytes = ? WHERE number = ?", (end, size_bytes, segment.number)
            )

    def drop(self, segment: Segment) -> None:
        """Forgets a segment and deletes its file; the row goes last, so a crash leaves no unknown file."""
        self.path(segment).unlink(missing_ok=True)
        with self._lock:
            self._database.execute("DELETE FROM segment WHERE number = ?", (segment.number,))

    def all(self) -> list[Segment]:
        """Every segment in the order in which they were recorded."""
        with self._lock:
            rows = self._database.execute(f"SELECT {_COLUMNS} FROM segment ORDER BY number").fetchall()
        return [Segment(*row) for row in rows]

    def close(self) -> None:
        """Closes the database."""
        with self._lock:
            self._database.close()
