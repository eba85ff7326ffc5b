"""6, remember: an event becomes a row, together with the decision about what of it may leave the site.

In: validated events. Out: one transaction for each revision: the event itself, its number, its egress decision and
that its footage is wanted, so that none can be lost without the others. It sends nothing. Next: `egress.py` releases,
`answer.py` recalls.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql import insert

from edge_node.devices import Devices
from edge_node.release import reduce
from edge_node.sequences import settled
from edge_node.tables import DEAD_LETTERS, EGRESS
from foveate import subjects
from foveate.bus import DeadLetter
from foveate.errors import FoveateError
from foveate.memory import Memory
from foveate.messages import Event, Place
from foveate.residency import ResidencyPolicy
from foveate.v1 import event_pb2 as pb
from foveate.wire import event_to, parse, utc

logger = logging.getLogger(__name__)


class Remember:
    """Writes events and dead letters; every method may be repeated without harm."""

    def __init__(
        self,
        *,
        memory: Memory,
        policy: ResidencyPolicy,
        devices: Devices,
        cloud: Place,
        released: Callable[[], None],
        footage: Callable[[Event], Sequence[Executable]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`cloud` is where released events go; `released` is called when there is something new to send.

        `footage` gives the statements that note an event's footage as wanted, none when it is not.
        """
        self._memory = memory
        self._policy = policy
        self._devices = devices
        self._cloud = cloud
        self._released = released
        self._footage = footage
        self._clock = clock

    async def event(self, event: Event) -> bool:
        """Remembers the event with this edge's receive time, unless as high a revision is there (False).

        Raises Unreachable or OutOfSpace when the database cannot take it now, and nothing of it was stored.
        """
        now = self._clock()
        event = replace(event, receive_time=now)
        self._devices.learn(event.device_id, event.device_labels)
        origin = self._devices.origin_of(event)
        out = reduce(event, policy=self._policy, origin=origin, destination=self._cloud)
        decision = insert(EGRESS).values(
            event_id=event.event_id,
            revision=event.revision,
            device_id=event.device_id,
            representation=out.representation.name,
            rule=out.verdict.rule,
            reason=out.verdict.reason(out.representation),
            time=utc(now),
            payload=None if out.event is None else event_to(out.event).SerializeToString(),
        )
        numbered = settled(event.device_id, [event.sequence])
        stored = await self._memory.upsert(event, also=[decision, *self._footage(event)], always=numbered)
        if stored and out.event is not None:
            self._released()
        return stored

    async def dead_letter(self, letter: DeadLetter) -> None:
        """Keeps a message that can never be handled, with the reason."""
        extra = {"subject": letter.subject, "reason": letter.reason}
        logger.warning("dead letter: %s", letter.message, extra=extra)
        row = insert(DEAD_LETTERS).values(
            digest=hashlib.sha256(letter.payload).hexdigest(),
            time=utc(self._clock()),
            subject=letter.subject,
            reason=letter.reason,
            # PostgreSQL keeps no NUL in text, and a sender may have put one into a name.
            message=letter.message.replace("\x00", ""),
            payload=letter.payload,
        )
        async with self._memory.transaction() as connection:
            await connection.execute(row.on_conflict_do_nothing())
            # Sent again it would be no better: its number is settled.
            for statement in _numbered(letter):
                await connection.execute(statement)


def _numbered(letter: DeadLetter) -> Sequence[Executable]:
    """The statement that settles the number of a message that is an event all the same, if it has one."""
    try:
        event = parse(pb.Event, letter.payload)
        device_id = subjects.checked_name(subjects.tokens(letter.subject)[-1], what="device")
    except FoveateError:
        return ()
    return settled(device_id, [event.sequence]) if event.device_id == device_id else ()
