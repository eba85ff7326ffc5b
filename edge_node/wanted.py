"""Which moments are worth a closer look and wait for one: a bounded table that survives restarts.

In: event revisions, and what became of each moment. Out: statements that note moments in the event's own transaction,
the moments that wait, and how many were passed over. A long event is noted in parts while it goes on, so that it does
not have to end first. It pulls and looks at nothing. Next: `gather.py`, which does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable, delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from edge_node.pick import best_moment
from edge_node.tables import WANTED
from foveate.memory import Memory
from foveate.messages import Event, TriggerKind
from foveate.wire import utc

PART_S = 120.0
"""Seconds of a long event of which one moment is looked at."""
HEARD_S = 30.0
"""The same for an event of sound, which is heard without gaps."""
LOOKED_S = 8.0
"""Longest span that is pulled for a look."""

_MARGIN_S = 0.5  # a short event still has a picture or two
_MOST_PARTS = 3  # that one revision notes: a device that was away for hours does not bring a hundred
_WORTH_S = 1.0  # the rest of a long event that is no part of its own
_READ_AT_ONCE = 64


_C = WANTED.c


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment that waits; `heard` when it is about sound; `tries` counts those that began before this one."""

    event_id: str
    part: int
    device_id: str
    priority: int
    heard: bool
    start: float
    end: float
    tries: int


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an event: its number from 0, and the span to pull, in Unix seconds by the device's clock."""

    number: int
    start: float
    end: float


def parts(event: Event) -> tuple[Part, ...]:
    """The parts that this revision completes, at most three, the last ones; none while a short event is open. Pure."""
    heard = event.trigger is TriggerKind.SOUND
    every, length = HEARD_S if heard else PART_S, max(0.0, event.end - event.start)
    count = int(length // every)
    if not event.open and (count == 0 or length - count * every >= _WORTH_S):
        count += 1
    found = []
    for number in range(max(0, count - _MOST_PARTS), count):
        begin = event.start + number * every
        end = max(begin, min(event.end, begin + every))
        found.append(Part(number, *((begin, end) if heard else _looked(event, begin, end))))
    return tuple(found)


def _looked(event: Event, begin: float, end: float) -> tuple[float, float]:
    """The span of at most 8 s in which the event's objects show best, a little wider than a short event."""
    if end - begin + 2 * _MARGIN_S <= LOOKED_S:
        return begin - _MARGIN_S, end + _MARGIN_S
    moment = best_moment(event.tracks, begin, end)
    start = begin if moment is None else min(max(begin, moment - LOOKED_S / 2), end - LOOKED_S)
    return start, start + LOOKED_S


class Wanted:
    """The table of one site, at most `most` moments waiting; forgotten `hours` after they came."""

    def __init__(
        self, *, memory: Memory, most: int = 500, hours: float = 6.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._memory, self._most, self._clock = memory, most, clock
        self._seconds = hours * 3600.0

    def statements(self, event: Event) -> Sequence[Executable]:
        """What notes the revision's moments: one statement, or none. What was looked at stays as it is."""
        now = utc(self._clock())
        rows = [
            {
                "event_id": event.event_id,
                "part": part.number,
                "device_id": event.device_id,
                "priority": int(event.priority),
                "heard": event.trigger is TriggerKind.SOUND,
                "start": part.start,
                "end": part.end,
                "time": now,
            }
            for part in parts(event)
        ]
        if not rows:
            return ()
        return (insert(WANTED).values(rows).on_conflict_do_nothing(index_elements=[_C.event_id, _C.part]),)

    async def waiting(self, device_ids: Sequence[str]) -> tuple[Moment, ...]:
        """The most important that wait, the newest of them first, at most 64, of these devices.

        The newest first: under a load that cannot be met, the memory stays of now, and what is old is passed over.
        """
        query = (
            select(_C.event_id, _C.part, _C.device_id, _C.priority, _C.heard, _C.start, _C.end, _C.tries)
            .where(_C.state == "waiting", _C.device_id.in_(device_ids), _C.not_before <= self._clock())
            .order_by(_C.priority.desc(), _C.start.desc())
            .limit(_READ_AT_ONCE)
        )
        async with self._memory.transaction() as connection:
            return tuple(Moment(*row) for row in (await connection.execute(query)).all())

    async def depth(self) -> int:
        """How many wait."""
        async with self._memory.transaction() as connection:
            found = await connection.scalar(select(func.count()).select_from(WANTED).where(_C.state == "waiting"))
        return int(found or 0)

    async def begin(self, moment: Moment, *, again_in: float) -> None:
        """Notes a try before it is made: footage that ends the process is not taken up again at once."""
        await self._do(_set(moment, tries=moment.tries + 1, not_before=self._clock() + again_in))

    async def later(self, moment: Moment, *, reason: str) -> None:
        """Leaves it waiting, with the reason; `begin` said until when."""
        await self._do(_set(moment, reason=reason))

    async def settle(self, moment: Moment, *, state: str, reason: str) -> None:
        """Ends the waiting as `refused` or `gone`."""
        await self._do(self.settled(moment, state=state, reason=reason))

    def settled(self, moment: Moment, *, state: str, reason: str = "") -> Executable:
        """The statement that ends the waiting, for the transaction that keeps what was found."""
        return _set(moment, state=state, reason=reason)

    async def bound(self) -> int:
        """Drops the oldest of the least priority past the bound, and what is too old; how many were passed over."""
        # Rows of ended moments stay for a while: a late revision of an event must not have it looked at twice.
        key = tuple_(_C.event_id, _C.part)
        over = (
            select(_C.event_id, _C.part)
            .where(_C.state == "waiting")
            .order_by(_C.priority.desc(), _C.start.desc())
            .offset(self._most)
        )
        old = _C.time < utc(self._clock() - self._seconds)
        async with self._memory.transaction() as connection:
            dropped = (await connection.execute(delete(WANTED).where(key.in_(over)))).rowcount
            late = (await connection.execute(delete(WANTED).where(old, _C.state == "waiting"))).rowcount
            await connection.execute(delete(WANTED).where(old))
        return int(dropped + late)

    async def _do(self, statement: Executable) -> None:
        async with self._memory.transaction() as connection:
            await connection.execute(statement)


def _set(moment: Moment, **values: Any) -> Executable:  # noqa: ANN401  columns
    return update(WANTED).where(_C.event_id == moment.event_id, _C.part == moment.part).values(**values)
