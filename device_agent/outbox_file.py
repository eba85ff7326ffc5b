"""The files of the outbox: a database of event revisions, and beside it the number up to which numbers are taken.

In: a path. Out: transactions on SQLite, and `Numbers` that are never given twice, not even after the database was
lost: they are reserved in blocks in a small file of their own. A damaged database is set aside, never deleted.
It knows no order and no bounds. Next: `outbox.py`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveate.errors import OutOfSpace

logger = logging.getLogger(__name__)

_BLOCK = 1024
MOST = 1 << 53
"""Past any number that a device will ever reach."""
_CORRUPT, _NO_DATABASE = 11, 26  # SQLite's primary result codes

# `waits` is 1 for what is to be sent and 0 for what was sent and is kept. `rank` is the priority by which it goes.
# `gives` is what can still be left out of it, as `thin.py` numbers it.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS revision (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, revision INTEGER NOT NULL,
  rank INTEGER NOT NULL, waits INTEGER NOT NULL, open INTEGER NOT NULL, gives INTEGER NOT NULL,
  thinned INTEGER NOT NULL, again INTEGER NOT NULL, sent REAL NOT NULL, size INTEGER NOT NULL, payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS revision_order ON revision (waits, rank DESC, sequence, gives, size);
CREATE INDEX IF NOT EXISTS revision_sent ON revision (sent) WHERE waits = 0;
CREATE INDEX IF NOT EXISTS revision_event ON revision (event_id, sequence);
CREATE INDEX IF NOT EXISTS revision_open ON revision (event_id, sequence) WHERE open;
CREATE TABLE IF NOT EXISTS total (waits INTEGER PRIMARY KEY, bytes INTEGER, number INTEGER, thinned INTEGER);
INSERT OR IGNORE INTO total VALUES (0, 0, 0, 0), (1, 0, 0, 0);
CREATE TRIGGER IF NOT EXISTS revision_in AFTER INSERT ON revision BEGIN
  UPDATE total SET bytes = bytes + new.size, number = number + 1, thinned = thinned + new.thinned
    WHERE waits = new.waits;
END;
CREATE TRIGGER IF NOT EXISTS revision_out AFTER DELETE ON revision BEGIN
  UPDATE total SET bytes = bytes - old.size, number = number - 1, thinned = thinned - old.thinned
    WHERE waits = old.waits;
END;
CREATE TRIGGER IF NOT EXISTS revision_moved AFTER UPDATE OF waits, size, thinned ON revision BEGIN
  UPDATE total SET bytes = bytes - old.size, number = number - 1, thinned = thinned - old.thinned
    WHERE waits = old.waits;
  UPDATE total SET bytes = bytes + new.size, number = number + 1, thinned = thinned + new.thinned
    WHERE waits = new.waits;
END;
"""


@dataclass(frozen=True, slots=True)
class Held:
    """What lies in the outbox: revisions and bytes that wait, those made smaller, and what was sent and is kept."""

    waiting: int
    waiting_bytes: int
    thinned: int
    kept: int
    kept_bytes: int


class OutboxFile:
    """The open database; `numbers`, `held` and `damage` (one sentence) are about it. Not safe from many threads."""

    def __init__(self, path: Path) -> None:
        """Opens or makes it, after setting a damaged one aside. OutOfSpace when the disk refuses."""
        self._path = path
        self.damage = ""
        with self.translated():
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                if not _damaged(error):
                    raise
                self._set_aside(error)
                self._open()

    def run(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """One statement. Raises sqlite3.Error."""
        return self.database.execute(statement, values)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements of the block or none; on disk afterwards. Raises sqlite3.Error."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            if self.database.in_transaction:
                self.run("ROLLBACK")
            raise
        finally:
            with contextlib.suppress(sqlite3.Error):
                self.measure()

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Turns sqlite3.Error into OutOfSpace; a database that broke while in use is begun anew first."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, sqlite3.Error) and _damaged(error):
                with contextlib.suppress(sqlite3.Error, OSError):
                    self.database.close()
                    self._set_aside(error)
                    self._open()
            raise OutOfSpace(
                f"The outbox cannot be read or written ({error}); free space on this device.", retry_after=5.0
            ) from error

    def measure(self) -> None:
        """Brings `held` up to date."""
        rows = self.run("SELECT bytes, number, thinned FROM total ORDER BY waits").fetchall()
        (kept_bytes, kept, _), (waiting_bytes, waiting, thinned) = rows
        self.held = Held(waiting, waiting_bytes, thinned, kept, kept_bytes)

    def _open(self) -> None:
        self.database = _opened(self._path)
        row = self.run("SELECT seq FROM sqlite_sequence WHERE name = 'revision'").fetchone()
        self.numbers = Numbers(self._path.with_suffix(".number"), known=None if row is None else int(row[0]))
        self.measure()

    def _set_aside(self, error: sqlite3.Error) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged")
        for suffix in ("", "-wal", "-shm"):
            part = self._path.with_name(self._path.name + suffix)
            if part.exists():
                part.replace(aside.with_name(aside.name + suffix))
        logger.error("%s is damaged (%s) and set aside as %s", self._path, error, aside.name)
        self.damage = f"The outbox was damaged and is set aside as {aside.name}; what waited in it was not sent."


def _damaged(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken, rather than the disk full or the file busy."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (_CORRUPT, _NO_DATABASE)


def _opened(path: Path) -> sqlite3.Connection:
    """The database, made when missing; each commit is on disk when it returns."""
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        # Small pages waste less around rows of 1 to 3 KiB; the journal is written back before it grows large.
        database.execute("PRAGMA page_size=1024")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA wal_autocheckpoint=2048")
        database.execute(f"PRAGMA journal_size_limit={4 << 20}")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("PRAGMA cache_size=-1024")  # KiB: memory is dear on a device
        database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    except sqlite3.Error:
        database.close()
        raise
    return database


class Numbers:
    """Rising numbers from 1, each given once, whatever is lost of the two files but not of both."""

    def __init__(self, path: Path, *, known: int | None) -> None:
        """`known` is the last number in the database, None for a new one. Blocking."""
        self._path = path
        self._reserved = _read(path)
        # Within its block the database is right; far behind it, it is an old copy of the one that was used.
        trusted = known is not None and self._reserved <= known + _BLOCK + 1
        self.last = known if trusted and known is not None else max(known or 0, self._reserved)

    def take(self) -> int:
        """The next number, gone for good. OutOfSpace when it cannot be reserved on disk."""
        self.raise_to(self.last + 1)
        return self.last

    def raise_to(self, number: int) -> None:
        """Takes all numbers up to this one."""
        if number > self._reserved:
            self._reserve(number + _BLOCK)
        self.last = max(self.last, number)

    def _reserve(self, number: int) -> None:
        draft = self._path.with_name(f".{self._path.name}.draft")
        try:
            with draft.open("w", encoding="ascii") as file:
                file.write(f"{number}\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            raise OutOfSpace(
                f"The outbox cannot number its events ({error.strerror}); free space on this device.", retry_after=5.0
            ) from error
        self._reserved = number


def _read(path: Path) -> int:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return 0
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def _sync_folder(folder: Path) -> None:
    # A rename is on disk only once its folder is.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
