"""Which revisions of each device are remembered: every device numbers what it stores, and gaps can be seen.

In: numbers, as events arrive or devices say that they are gone for good. Out: statements for the transaction that
remembers an event, and what is still missing. A device takes one row, however long it lives: numbers are kept as
ranges (PostgreSQL 14 or newer). It asks nobody. Next: `backfill.py`, which does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from sqlalchemy import Executable, select
from sqlalchemy.dialects.postgresql import Range, insert
from sqlalchemy.dialects.postgresql.ranges import MultiRange

from edge_node.tables import SEQUENCES
from foveate.commands import BackFill
from foveate.memory import Memory

MOST_MISSING = 256
"""Numbers named in one request; where more are missing, all after the first gap is asked for."""

_MOST = 1 << 53  # what no honest device ever counts to, and PostgreSQL must not be asked to add to

Ranges = Sequence[tuple[int, int]]
"""Numbers from the first of each pair up to and without the second, in order and not touching."""


def settled(device_id: str, numbers: Iterable[int]) -> Sequence[Executable]:
    """The statement that adds numbers to what is had of the device; none when there are none, as in old events."""
    added = ranges(number for number in numbers if 0 < number <= _MOST)
    if not added:
        return ()
    row = insert(SEQUENCES).values(device_id=device_id, had=MultiRange(Range(start, end) for start, end in added))
    change = {"had": SEQUENCES.c.had.op("+")(row.excluded.had)}
    return (row.on_conflict_do_update(index_elements=[SEQUENCES.c.device_id], set_=change),)


class Sequences:
    """The numbers of each device in the database of the events."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def had(self, device_id: str) -> Ranges:
        """What arrived or is gone for good. Raises Unreachable when the database does not answer."""
        query = select(SEQUENCES.c.had).where(SEQUENCES.c.device_id == device_id)
        async with self._memory.transaction() as connection:
            found = await connection.scalar(query)
        return [(piece.lower, piece.upper) for piece in found or ()]

    async def settle(self, device_id: str, numbers: Sequence[int]) -> None:
        """Adds numbers that no longer need to be asked for."""
        async with self._memory.transaction() as connection:
            for statement in settled(device_id, numbers):
                await connection.execute(statement)


def ranges(numbers: Iterable[int]) -> Ranges:
    """The numbers as ranges. Pure."""
    found: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


def size(had: Ranges) -> int:
    """How many numbers they are. Pure."""
    return sum(end - start for start, end in had)


def wanted(had: Ranges) -> BackFill:
    """What to ask a device for that numbers from 1: what is missing, and all after the last. Pure."""
    edges = [(0, 1), *had]
    holes = [(before[1], after[0]) for before, after in pairwise(edges) if before[1] < after[0]]
    if size(holes) > MOST_MISSING:
        return BackFill(holes[0][0] - 1)
    return BackFill(edges[-1][1] - 1, tuple(number for start, end in holes for number in range(start, end)))
