"""The recorder's database: one SQLite file beside the recordings, in WAL mode, so that it survives the process.

In: SQL of the modules that share it. Out: rows. A file that is no database any more is set aside, not deleted, and an
empty one takes its place: `rebuilt` then tells that what it said must be found anew. Errors come from the error tree.
It knows no media. Next: `segments.py` and `gaps.py`, which keep their tables here.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foveate.errors import OutOfSpace

logger = logging.getLogger(__name__)

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
  bytes INTEGER NOT NULL,
  priority INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS by_priority ON segment (priority);
CREATE INDEX IF NOT EXISTS by_end ON segment (end);
CREATE INDEX IF NOT EXISTS by_age ON segment (priority, end);
CREATE TABLE IF NOT EXISTS gap (number INTEGER PRIMARY KEY, start REAL NOT NULL, end REAL, reason TEXT NOT NULL);
"""


class Index:
    """The database, safe from any thread."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder and opens what is there; OutOfSpace when neither can be done."""
        self.path = folder / "index.sqlite"
        self.rebuilt = False
        """Whether a damaged file was set aside, so that the tables began empty."""
        self.damaged = False
        """Whether the file was found damaged since it was opened; `reopen` sets it aside."""
        self._lock = threading.Lock()
        with self._translated():
            folder.mkdir(parents=True, exist_ok=True)
            self._database = self._opened()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with self._lock, self._translated():
            return self._database.execute(query, values).fetchall()

    def change(self, statement: str, *values: object) -> int:
        """Carries out one statement, on its own whole or not at all; returns the number of an inserted row."""
        with self._lock, self._translated():
            return int(self._database.execute(statement, values).lastrowid or 0)

    def reopen(self) -> None:
        """Closes the file and opens it again; one that is damaged is set aside."""
        with self._lock, self._translated():
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self.damaged = False
            self._database = self._opened()

    def close(self) -> None:
        """Closes the database."""
        with self._lock, self._translated():
            self._database.close()

    def _opened(self) -> sqlite3.Connection:
        self.rebuilt = False
        try:
            return _connected(self.path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            logger.error("%s is damaged (%s) and set aside as %s.damaged", self.path, error, self.path.name)
        # With its log: SQLite would replay that into the new file.
        for suffix in ("", "-wal", "-shm"):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.replace(part.with_name(f"{self.path.name}.damaged{suffix}"))
        self.rebuilt = True
        return _connected(self.path)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self.damaged = self.damaged or type(error) is sqlite3.DatabaseError
            raise OutOfSpace(
                f"The recordings' index cannot be read or written ({error}); free space on this device.",
                retry_after=5.0,
            ) from error
        except OSError as error:
            raise OutOfSpace(
                f"The recordings' folder cannot be used ({error.strerror}); free space on this device.",
                retry_after=5.0,
            ) from error


def _connected(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        # Small, so that this takes milliseconds; a page that is damaged would else be met in mid-recording.
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        columns = {row[1] for row in database.execute("PRAGMA table_info(segment)")}
        if columns and "priority" not in columns:
            database.execute("ALTER TABLE segment ADD COLUMN priority INTEGER NOT NULL DEFAULT 0")
        database.executescript(_SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    return database
