"""The outbox: every event revision is numbered and on disk before it is sent, and stays until it was acknowledged.

In: events. Out: their wire bytes, the highest priority first; revisions of one event never overtake each other, and
events of one priority go in the order of their numbers. What was sent is kept for a while, to be sent again when the
edge asks. Each `put` is synchronised to disk: `kill -9` and a power cut lose nothing. Bounded in bytes. It knows no
network. Next: `report.py`, which empties it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from device_agent import thin
from device_agent.outbox_file import MOST, Held, OutboxFile
from foveate.commands import BackFilled
from foveate.errors import InvalidInput, MalformedMessage, OutOfSpace
from foveate.messages import Event, Priority
from foveate.v1 import event_pb2
from foveate.wire import event_of, event_to, parse

logger = logging.getLogger(__name__)

KEEP_S = 7 * 24 * 3600.0
_ROW_BYTES = 256  # what the database needs for a row and its indices besides the payload
_CHUNK = 64
_FAIR = 8
_WINDOW, _MOST_GONE, _MOST_MISSING = 256, 10_000, 1024
# The share of the bytes up to which a priority may fill the outbox: noise must not shut out the button.
_SHARE = {Priority.LOW: 0.85, Priority.NORMAL: 0.92, Priority.HIGH: 0.96, Priority.URGENT: 1.0}
_PUT_BACK = "UPDATE revision SET waits = 1, again = again + 1, gives = iif(open, gives, ?) WHERE +waits = 0"
_LEFT_OPEN = (
    "SELECT sequence, payload FROM revision AS one WHERE open AND NOT EXISTS (SELECT 1 FROM revision AS later "
    "WHERE later.event_id = one.event_id AND later.sequence > one.sequence) ORDER BY sequence"
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One revision that waits; `message_id` lets the receiving stream drop a repetition."""

    number: int
    message_id: str
    payload: bytes


class Outbox:
    """A queue of event revisions on disk, safe from any thread."""

    def __init__(
        self, path: Path, *, max_bytes: int, keep_s: float = KEEP_S, now: Callable[[], float] = time.time
    ) -> None:
        """Opens what is there; a file that is no database any more is set aside, not deleted. OutOfSpace: disk full.

        Half of `max_bytes` at most is what was sent and is kept, for `keep_s` seconds by the clock `now`; it makes
        way for what waits.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._max_bytes, self._keep_s, self._now = max_bytes, keep_s, now
        self._lock = threading.Lock()
        self._file = OutboxFile(path)

    @property
    def depth(self) -> int:
        """How many revisions wait."""
        return self._file.held.waiting

    @property
    def held(self) -> Held:
        """What lies here now."""
        return self._file.held

    @property
    def sequence(self) -> int:
        """The last number that was given to a revision."""
        return self._file.numbers.last

    @property
    def trouble(self) -> str:
        """One sentence when what waits had to be made smaller, or the file was damaged; empty when all is well."""
        if self._file.held.thinned:
            return (
                f"The outbox was full: {self._file.held.thinned} events wait without their vectors, some with only "
                "the ends of their paths; restore the link to the site."
            )
        return self._file.damage

    def put(self, event: Event) -> int:
        """Stores a revision and returns its number; on disk when this returns. OutOfSpace: nothing stored goes.

        To make room, first what was sent goes, then what a later revision replaced, then events of this priority or
        a lesser one give their vectors and the middles of their paths, the least priority first.
        """
        with self._lock, self._file.translated():
            payload = _encoded(replace(event, sequence=self.sequence + 1))
            self._make_room(len(payload) + _ROW_BYTES, event.priority)
            # Gone even if storing fails: a number that may have reached the disk is not used again.
            number = self._file.numbers.take()
            with self._file.transaction():
                self._store(event, number, payload)
            return number

    def pending(self, limit: int) -> list[Waiting]:
        """The next `limit` revisions in the order in which they are to be sent.

        The highest priority first, then by number. One place in eight goes to those of the lowest numbers, whatever
        their priority: a flood of what matters more delays the rest and never stops it.
        """
        with self._lock, self._file.translated():
            ranked = [number for rank in sorted(Priority, reverse=True) for number in self._first_of(rank, limit)]
            first = ranked[: limit - limit // _FAIR]
            longest = sorted(ranked[len(first) :])[: limit - len(first)]
            chosen = {*first, *longest}
            return [self._waiting(number) for number in ranked if number in chosen]

    def done(self, numbers: Iterable[int]) -> None:
        """Takes what was acknowledged out of the queue; the newest revision of each event is kept for a while.

        What could not be taken out is sent again, which the receiver tells.
        """
        with self._lock, self._file.translated(), self._file.transaction():
            for number in numbers:
                self._file.run("DELETE FROM revision WHERE sequence = ? AND gives = ?", (number, thin.REPLACED))
                self._file.run("UPDATE revision SET waits = 0, sent = ? WHERE sequence = ?", (self._now(), number))
            self._forget_kept()

    def back_fill(self, after_sequence: int, missing: Sequence[int] = ()) -> BackFilled:
        """Puts what is held after a number, and these numbers up to it, back into the queue under a new message id.

        At most 256 revisions and 10,000 gone numbers at a time, the lowest first; numbers that are neither sent nor
        called gone are to be asked for again. `resent` counts those that were waiting anyway as well. After a number
        that was never given here, all that is kept goes: this outbox lost its own numbers. InvalidInput past 2^53.
        """
        if after_sequence > MOST:
            raise InvalidInput(f"No outbox counts to {after_sequence}; the edge that asks is broken.")
        with self._lock, self._file.translated():
            if after_sequence > self.sequence:
                return self._begun_anew(after_sequence)
            asked, end = sorted(set(missing))[:_MOST_MISSING], self._end_of_window(after_sequence)
            query = "SELECT sequence FROM revision WHERE sequence > ? AND sequence <= ?"
            with self._file.transaction():
                after = [number for (number,) in self._file.run(query, (after_sequence, end)).fetchall()]
                held = {number for number in (*asked, *after) if self._put_back(number)}
        gone = (number for number in (*asked, *range(after_sequence + 1, end + 1)) if number not in held)
        return BackFilled(len(held), tuple(gone))

    def left_open(self) -> list[Event]:
        """The last stored revision of every event that was never closed: the process that saw it was killed."""
        with self._lock, self._file.translated():
            rows = self._file.run(_LEFT_OPEN).fetchall()
            found = [self._decoded(number, payload) for number, payload in rows]
        return [event for event in found if event is not None]

    def close(self) -> None:
        """Closes the database."""
        with self._lock, self._file.translated():
            self._file.database.close()

    def _store(self, event: Event, number: int, payload: bytes) -> None:
        run, key = self._file.run, event.event_id
        # The plus keeps the planner from the index on `waits`, in which it would look at all that waits.
        waiting = run("SELECT max(rank) FROM revision WHERE event_id = ? AND +waits = 1", (key,)).fetchone()
        rank = max(int(event.priority), waiting[0] or 0)
        run("DELETE FROM revision WHERE event_id = ? AND +waits = 0", (key,))
        # Those that still wait rise with it: otherwise this one would overtake them.
        run("UPDATE revision SET rank = ?, gives = ? WHERE event_id = ?", (rank, thin.REPLACED, key))
        run(
            "INSERT INTO revision VALUES (?, ?, ?, ?, 1, ?, ?, 0, 0, 0, ?, ?)",
            (number, key, event.revision, rank, event.open, thin.gives(event), len(payload) + _ROW_BYTES, payload),
        )

    def _first_of(self, rank: int, limit: int) -> list[int]:
        query = "SELECT sequence FROM revision WHERE waits = 1 AND rank = ? ORDER BY sequence LIMIT ?"
        return [number for (number,) in self._file.run(query, (rank, limit))]

    def _waiting(self, number: int) -> Waiting:
        query = "SELECT event_id, revision, again, payload FROM revision WHERE sequence = ?"
        event_id, revision, again, payload = self._file.run(query, (number,)).fetchone()
        # Under its first id the stream would drop what is sent again, for as long as it remembers the id.
        return Waiting(number, f"{event_id}.{revision}" + (f".{again}" if again else ""), payload)

    def _put_back(self, number: int) -> bool:
        """Whether the revision is held; from now on it waits, and goes again before anything new has to."""
        self._file.run(f"{_PUT_BACK} AND sequence = ?", (thin.SENT, number))
        return self._file.run("SELECT 1 FROM revision WHERE sequence = ?", (number,)).fetchone() is not None

    def _end_of_window(self, after: int) -> int:
        """The last number that one request after `after` answers for."""
        query = "SELECT sequence FROM revision WHERE sequence > ? ORDER BY sequence LIMIT 1 OFFSET ?"
        row = self._file.run(query, (after, _WINDOW)).fetchone()
        return min(self.sequence if row is None else int(row[0]) - 1, after + _MOST_GONE)

    def _begun_anew(self, after: int) -> BackFilled:
        """The edge knows higher numbers than this outbox, which lost its own: they are not used again.

        The low ones mean nothing to the edge, so all that is kept goes once more.
        """
        self._file.numbers.raise_to(after)
        with self._file.transaction():
            self._file.run(_PUT_BACK, (thin.SENT,))
        return BackFilled(self.depth, ())

    def _make_room(self, need: int, priority: Priority) -> None:
        limit = int(self._max_bytes * _SHARE[priority])
        while self.held.waiting_bytes + need > limit and (self._forget_spare() or self._thin(priority)):
            pass
        if self.held.waiting_bytes + need > limit:
            raise OutOfSpace(
                f"{self.depth} events wait in the outbox and it is full; restore the link to the site.",
                retry_after=5.0,
            )
        if self.held.waiting_bytes + self.held.kept_bytes + need > self._max_bytes:
            with self._file.transaction():
                self._forget_kept(need)

    def _forget_spare(self) -> bool:
        """Lets go of some that a later revision replaced or that were sent before; False when there are none."""
        some = "SELECT sequence FROM revision WHERE waits = 1 AND gives >= ? LIMIT ?"
        with self._file.transaction():
            gone = self._file.run(f"DELETE FROM revision WHERE sequence IN ({some})", (thin.SENT, 4 * _CHUNK))
        return gone.rowcount > 0

    def _thin(self, priority: Priority) -> bool:
        """Makes some of what waits smaller, of this priority at most; False when nothing is left to give."""
        query = (
            "SELECT sequence, payload FROM revision WHERE waits = 1 AND rank = ? AND gives = ? "
            "ORDER BY sequence LIMIT ?"
        )
        for rank in range(Priority.LOW, priority + 1):
            for given in (thin.VECTOR, thin.PATHS):
                if rows := self._file.run(query, (rank, given, _CHUNK)).fetchall():
                    with self._file.transaction():
                        for number, payload in rows:
                            self._make_smaller(number, payload)
                    return True
        return False

    def _make_smaller(self, number: int, payload: bytes) -> None:
        event, gives = self._decoded(number, payload), thin.NOTHING
        if event is not None:
            event = thin.thinned(event)
            payload, gives = _encoded(event), thin.gives(event)
        self._file.run(
            "UPDATE revision SET payload = ?, size = ?, gives = ?, thinned = 1 WHERE sequence = ?",
            (payload, len(payload) + _ROW_BYTES, gives, number),
        )

    def _forget_kept(self, need: int = 0) -> None:
        """Lets go of what was sent: what is too old, then the least priority and the oldest until all bounds hold."""
        run = self._file.run
        run("DELETE FROM revision WHERE waits = 0 AND NOT open AND sent < ?", (self._now() - self._keep_s,))
        self._file.measure()
        room = min(self._max_bytes // 2, self._max_bytes - self.held.waiting_bytes - need)
        over = self.held.kept_bytes - max(0, room)
        if over <= 0:
            return
        over += self._max_bytes // 64  # more than must be, so that the next ones find room at once
        query = "SELECT sequence, size FROM revision WHERE waits = 0 AND NOT open ORDER BY rank, sequence"
        for number, size in run(query).fetchall():
            if over <= 0:
                return
            run("DELETE FROM revision WHERE sequence = ?", (number,))
            over -= size

    def _decoded(self, number: int, payload: bytes) -> Event | None:
        """The event in a row; None, and no longer open, when nobody can read it."""
        try:
            return event_of(parse(event_pb2.Event, payload))
        except MalformedMessage as error:
            logger.error("revision %d in the outbox cannot be read: %s", number, error)
            self._file.run("UPDATE revision SET open = 0 WHERE sequence = ?", (number,))
            return None


def _encoded(event: Event) -> bytes:
    return event_to(event).SerializeToString()
