"""The outbox: every event revision is on disk before it is sent, and stays there until it was acknowledged.

In: events. Out: their wire bytes in the order in which they were put. SQLite, each `put` synchronised to disk, so
`kill -9` and a power cut lose nothing; events that were still open when the process died can be closed by the next
one. Bounded in bytes. It knows no network. Next: `report.py`, which empties it.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from foveate.errors import OutOfSpace
from foveate.messages import Event
from foveate.v1 import event_pb2
from foveate.wire import event_of, event_to, parse

logger = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (
  number INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, revision INTEGER NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS opened (event_id TEXT PRIMARY KEY, payload BLOB NOT NULL);
"""


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OutOfSpace(
            f"The outbox cannot be read or written ({error}); free space on this device.", retry_after=5.0
        ) from error


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(_SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    return database


@dataclass(frozen=True, slots=True)
class Waiting:
    """One revision that waits; `message_id` lets the receiving stream drop a repetition."""

    number: int
    message_id: str
    payload: bytes


class Outbox:
    """A queue of event revisions on disk, safe from any thread."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        """Opens what is there; a file that is no database any more is set aside, not deleted. OutOfSpace: disk full."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        with _translated():
            try:
                self._database = _opened(path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                aside = path.with_name(f"{path.name}.damaged")
                logger.error("%s is damaged (%s) and set aside as %s", path, error, aside.name)
                path.replace(aside)
                self._database = _opened(path)
            self._bytes, self._depth = self._measured()

    @property
    def depth(self) -> int:
        """How many revisions wait."""
        return self._depth

    def put(self, event: Event) -> None:
        """Stores a revision; on disk when this returns. OutOfSpace when bytes or disk are used up: nothing stored goes.

        Before giving up, revisions that a later one of the same event has replaced are let go.
        """
        payload = event_to(event).SerializeToString()
        with self._lock:
            if self._bytes + len(payload) > self._max_bytes:
                with _translated():
                    self._compact()
            if self._bytes + len(payload) > self._max_bytes:
                raise OutOfSpace(
                    f"{self._depth} events wait in the outbox and it is full; restore the link to the site.",
                    retry_after=5.0,
                )
            with _translated():
                self._store(event, payload)
            self._bytes, self._depth = self._bytes + len(payload), self._depth + 1

    def pending(self, limit: int) -> list[Waiting]:
        """The oldest `limit` revisions, oldest first."""
        with self._lock, _translated():
            rows = self._database.execute(
                "SELECT number, event_id || '.' || revision, payload FROM waiting ORDER BY number LIMIT ?", (limit,)
            ).fetchall()
        return [Waiting(*row) for row in rows]

    def done(self, numbers: Iterable[int]) -> None:
        """Deletes what was acknowledged; what could not be deleted is sent again, which the receiver tells."""
        with self._lock, _translated():
            self._database.executemany("DELETE FROM waiting WHERE number = ?", [(number,) for number in numbers])
            self._bytes, self._depth = self._measured()

    def left_open(self) -> list[Event]:
        """The last stored revision of every event that was never closed: the process that saw it was killed."""
        with self._lock, _translated():
            rows = self._database.execute("SELECT payload FROM opened ORDER BY event_id").fetchall()
        return [event_of(parse(event_pb2.Event, payload)) for (payload,) in rows]

    def close(self) -> None:
        """Closes the database."""
        with self._lock:
            self._database.close()

    def _store(self, event: Event, payload: bytes) -> None:
        base = self._database
        base.execute("BEGIN IMMEDIATE")
        try:
            base.execute(
                "INSERT INTO waiting (event_id, revision, payload) VALUES (?, ?, ?)",
                (event.event_id, event.revision, payload),
            )
            if event.open:
                base.execute("INSERT OR REPLACE INTO opened VALUES (?, ?)", (event.event_id, payload))
            else:
                base.execute("DELETE FROM opened WHERE event_id = ?", (event.event_id,))
            base.execute("COMMIT")
        except sqlite3.Error:
            if base.in_transaction:
                base.execute("ROLLBACK")
            raise

    def _compact(self) -> None:
        self._database.execute(
            "DELETE FROM waiting WHERE number NOT IN (SELECT max(number) FROM waiting GROUP BY event_id)"
        )
        self._bytes, self._depth = self._measured()

    def _measured(self) -> tuple[int, int]:
        size, depth = self._database.execute(
            "SELECT coalesce(sum(length(payload)), 0), count(*) FROM waiting"
        ).fetchone()
        return int(size), int(depth)
