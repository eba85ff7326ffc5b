"""Bounds what the site remembers, by age and by bytes: what matters least goes first, in small batches.

In: the tables of the site and `Keep`, what an operator wants kept. Out: fewer rows, and counts of what went. An event
takes its tracks, key frames, text and speech along. Records of what left the site outlive the rest, and what still
waits to leave is never touched. It deletes no footage: `archive.py` does. It runs beside everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, func, or_, select, true

from edge_node.scene import Scene, bytes_of
from edge_node.tables import ARCHIVE, DEAD_LETTERS, EGRESS, KEY_FRAMES, RELEASES, SPEECH, TEXTS
from foveate.errors import TryAgain
from foveate.memory import Memory
from foveate.messages import Priority
from foveate.remembered import EVENTS, TRACKS
from foveate.wire import utc

logger = logging.getLogger(__name__)

_DAY_S = 86_400.0
_BATCH = 200
_BREATH_S = 0.05  # between batches, for those who write and ask
_VACUUM_FROM, _VACUUM_SHARE = 200, 0.05  # rows that went, and of those that are there, for making room at once
_OF_AN_EVENT = (TRACKS, KEY_FRAMES, TEXTS, SPEECH)
_RECORDS: tuple[tuple[Table, ColumnElement[Any]], ...] = (
    (DEAD_LETTERS, DEAD_LETTERS.c.time),
    (EGRESS, EGRESS.c.item_id),
    (RELEASES, RELEASES.c.time),
)


@dataclass(frozen=True, slots=True)
class Keep:
    """How long and how much is kept; ages count from when the site received or wrote a thing.

    `bytes` bounds events with their tracks, key frames, text and speech, and `record_bytes` each kind of record:
    releases, egress decisions, dead letters.
    """

    days: float = 30.0
    bytes: int = 20 * 1024**3
    release_days: float = 365.0
    dead_letter_days: float = 30.0
    waiting_days: float = 7.0
    """After this long footage that no device delivered is no longer waited for."""
    record_bytes: int = 1024**3


class Retention:
    """Removes what is past `Keep`; `removed` counts the rows by table since the start."""

    def __init__(
        self,
        *,
        memory: Memory,
        scene: Scene,
        keep: Keep,
        every_s: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._memory, self._scene, self._keep, self._every_s, self._clock = memory, scene, keep, every_s, clock
        self.removed: Counter[str] = Counter()
        self._since_vacuum: Counter[str] = Counter()

    async def run(self, stop: asyncio.Event) -> None:
        """Removes once a minute until `stop` is set; a database that is gone is tried again."""
        while not stop.is_set():
            try:
                await self.once(stop)
            except TryAgain as error:
                logger.warning("nothing is removed for now: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._every_s)

    async def once(self, stop: asyncio.Event | None = None) -> Counter[str]:
        """One pass: ages first, then bytes; what went, by table. Raises Unreachable when the database is gone."""
        before = self.removed.copy()
        for table, where, order in self._too_old():
            await self._remove(table, where, order, stop=stop)
        await self._fit_events(stop)
        for table, oldest in _RECORDS:
            await self._fit(table, oldest, stop)
        gone = self.removed - before
        if gone:
            logger.info("removed what is past its time or its room", extra={"rows": dict(gone)})
            await self._reclaim(gone)
        return gone

    def _too_old(self) -> Sequence[tuple[Table, ColumnElement[bool], ColumnElement[Any]]]:
        now, keep = self._clock(), self._keep
        of, past = utc(now - keep.days * _DAY_S), now - keep.waiting_days * _DAY_S
        # By each priority, which is how the index that also finds what matters least is ordered.
        events = [
            (EVENTS, and_(EVENTS.c.priority == int(priority), EVENTS.c.receive_time < of), EVENTS.c.receive_time)
            for priority in Priority
        ]
        letters = utc(now - keep.dead_letter_days * _DAY_S)
        releases = utc(now - keep.release_days * _DAY_S)
        return (
            *events,
            (EGRESS, and_(EGRESS.c.payload.is_(None), EGRESS.c.time < of), EGRESS.c.item_id),
            (DEAD_LETTERS, DEAD_LETTERS.c.time < letters, DEAD_LETTERS.c.time),
            (RELEASES, RELEASES.c.time < releases, RELEASES.c.time),
            (ARCHIVE, and_(ARCHIVE.c.state == "waiting", _in_vain(past)), ARCHIVE.c.time),
            (ARCHIVE, and_(ARCHIVE.c.state == "gone", ARCHIVE.c.time < of), ARCHIVE.c.time),
        )

    async def _fit_events(self, stop: asyncio.Event | None) -> None:
        """Removes events, the least priority and the oldest first, until the bytes fit."""
        over = sum((await self._scene.size()).values()) - self._keep.bytes
        worst = select(EVENTS.c.event_id).order_by(EVENTS.c.priority, EVENTS.c.receive_time).limit(_BATCH)
        while over > 0 and not _stopped(stop):
            async with self._memory.transaction() as connection:
                ids = list((await connection.scalars(worst)).all())
            if not ids:
                return
            over -= await self._forget(ids, enough=over)
            await asyncio.sleep(_BREATH_S)

    async def _forget(self, event_ids: Sequence[str], *, enough: int) -> int:
        """Removes events in this order until `enough` bytes went; how many did."""
        sizes: Counter[str] = Counter()
        async with self._memory.transaction() as connection:
            for table in (EVENTS, *_OF_AN_EVENT):
                size = func.sum(bytes_of(table)).label("size")
                query = select(table.c.event_id, size).where(table.c.event_id.in_(event_ids)).group_by(table.c.event_id)
                for row in (await connection.execute(query)).all():
                    sizes[row.event_id] += int(row.size)
            chosen, freed = [], 0
            for event_id in event_ids:
                if freed >= enough:
                    break
                chosen.append(event_id)
                freed += sizes[event_id]
            gone = await connection.execute(delete(EVENTS).where(EVENTS.c.event_id.in_(chosen)))
        self._count(EVENTS, gone.rowcount)
        return freed

    async def _fit(self, table: Table, oldest: ColumnElement[Any], stop: asyncio.Event | None) -> None:
        """Removes the oldest records of one kind until their bytes fit; what waits to leave counts, but stays."""
        async with self._memory.transaction() as connection:
            size = select(func.sum(bytes_of(table)), func.count()).select_from(table)
            bytes_, number = (await connection.execute(size)).one()
        over = int(bytes_ or 0) - self._keep.record_bytes
        if over > 0:
            # Records of one kind are about as long as each other.
            rows = -(-over * number // int(bytes_))
            where = table.c.payload.is_(None) if table is EGRESS else true()
            await self._remove(table, where, oldest, most=rows, stop=stop)

    async def _remove(
        self,
        table: Table,
        where: ColumnElement[bool],
        order: ColumnElement[Any],
        *,
        most: int | None = None,
        stop: asyncio.Event | None = None,
    ) -> None:
        """Removes what the condition chooses, batch by batch in that order, at most `most` rows."""
        (key,) = table.primary_key.columns
        while not _stopped(stop) and (most is None or most > 0):
            batch = _BATCH if most is None else min(_BATCH, most)
            chosen = select(key).where(where).order_by(order).limit(batch)
            async with self._memory.transaction() as connection:
                gone = (await connection.execute(delete(table).where(key.in_(chosen)))).rowcount
            self._count(table, gone)
            if gone < batch:
                return
            most = None if most is None else most - gone
            await asyncio.sleep(_BREATH_S)

    def _count(self, table: Table, rows: int) -> None:
        if rows:
            self.removed[table.name] += rows

    async def _reclaim(self, gone: Counter[str]) -> None:
        """Makes the room of what went usable, so that files stop growing; PostgreSQL itself would take minutes."""
        self._since_vacuum.update(gone)
        for name, rows in list(self._since_vacuum.items()):
            if rows < max(_VACUUM_FROM, _VACUUM_SHARE * await self._memory.about(name)):
                continue
            del self._since_vacuum[name]
            along = [table.name for table in _OF_AN_EVENT] if name == EVENTS.name else []
            for each in (name, *along):
                await self._memory.vacuum(each)


def _in_vain(past: float) -> ColumnElement[bool]:
    """Footage of a device that was not heard of since, or that was asked again and again and overwrote it long ago."""
    return or_(ARCHIVE.c.time < utc(past), and_(ARCHIVE.c.reason != "", ARCHIVE.c.end < past))


def _stopped(stop: asyncio.Event | None) -> bool:
    return stop is not None and stop.is_set()
